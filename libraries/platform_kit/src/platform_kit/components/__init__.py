"""Component types of the platform: what a location declares in YAML. `dg list components` finds them here."""

from platform_kit.components.sql_report import SqlReport

__all__ = ["SqlReport"]
