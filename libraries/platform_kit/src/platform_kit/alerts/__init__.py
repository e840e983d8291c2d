"""Who is told when something goes wrong: locations say it beside their assets and jobs, the location platform sends.

A location writes `metadata=as_metadata([AlertPolicy(...)])` on an asset, or `tags=as_run_tags([...])` on a job. It
never sends by itself: its network may have no way out, and where messages leave, data can.
"""

from platform_kit.alerts.policy import AlertPolicy, as_metadata, as_run_tags, from_metadata, from_run_tags

__all__ = ["AlertPolicy", "as_metadata", "as_run_tags", "from_metadata", "from_run_tags"]
