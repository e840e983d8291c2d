"""The one error of the migration."""


class MigrationError(Exception):
    """Something that keeps the database from being prepared: one line that says what was found and what to do."""
