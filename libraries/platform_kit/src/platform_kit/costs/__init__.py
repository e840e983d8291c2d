"""What each materialisation cost: processor seconds, peak memory, wall time and money, as its metadata.

`measured(definitions)` is the last line of a location's definitions.py; whatever its assets are.
An asset function that makes several tables before it yields the first may say how its work divides: `split`.
"""

from platform_kit.costs.recording import measured, split, split_by_execution_time

__all__ = ["measured", "split", "split_by_execution_time"]
