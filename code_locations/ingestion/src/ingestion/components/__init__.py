"""Component types of this location: what a `defs.yaml` below `defs/` may name."""

from ingestion.components.source_tables import SourceTables

__all__ = ["SourceTables"]
