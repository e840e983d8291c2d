"""Dagster's webserver, with roles per code location, attribution of what people do, and an audit log."""

from lean_dagster import without_alembic, without_colours

# Here, because both have to come before Dagster is imported.
without_colours()
without_alembic()
