"""The type of a polars frame in the signature of an asset, without importing polars.

Dagster evaluates an asset's annotations when definitions load, and `import polars` takes 0.4 s of every load and run.
A type checker sees `polars.DataFrame`, Dagster sees `Any`. An input that wants to be something else than a DataFrame is
annotated with the real type, and pays for it.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from polars import DataFrame as Frame
else:
    Frame = Any

__all__ = ["Frame"]
