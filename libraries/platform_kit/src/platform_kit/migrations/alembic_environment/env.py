"""What Alembic runs for each command: the caller has the connection, its transaction and the lock."""

from alembic import context

_given = context.config.attributes
context.configure(connection=_given["connection"], **_given["options"])
with context.begin_transaction():  # joins the caller's, which commits or rolls back
    context.run_migrations()
