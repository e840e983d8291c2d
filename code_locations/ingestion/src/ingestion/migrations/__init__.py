"""How the location's own tables in Postgres become what `models` says: docs/migrations.md."""

from ingestion.models import metadata

__all__ = ["metadata"]
