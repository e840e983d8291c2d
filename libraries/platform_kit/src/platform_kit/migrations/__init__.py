"""Migrations of the tables that a code location keeps in Postgres beside its lake, by Alembic.

A location has a package `migrations` with its models' `metadata` and a folder `versions`; everything else is here:
`python -m platform_kit.migrations current | heads | upgrade | downgrade | check | new | start`. See docs/migrations.md.
Nothing is imported here, so that a revision that says why it cannot be undone needs no more than this module.
"""


class MigrationError(Exception):
    """Something that a person has to put right; the message says what was found and what to do, without a password."""


class IrreversibleError(MigrationError):
    """Raised by a revision's `downgrade()`: there is no way back, and why."""


__all__ = ["IrreversibleError", "MigrationError"]
