"""Imports dagster-dbt without dbt: import this before anything else does.

dagster-dbt imports dbt where it finds it, and does without where it does not: dbt is then a command that it starts.
That is all we want of it, and the import costs a code server and each of its runs memory and a second.
"""

import sys

_former = sys.modules.get("dbt")
sys.modules["dbt"] = None  # type: ignore[assignment]  # Python's own sign for "not to be found"
try:
    import dagster_dbt  # noqa: F401
finally:
    if _former:
        sys.modules["dbt"] = _former
    else:
        del sys.modules["dbt"]
