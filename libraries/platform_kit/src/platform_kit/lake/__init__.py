"""The lake: DuckLake tables named by asset keys, with a catalog in Postgres or, locally, in a DuckDB file.

`LakeResource` gives a DuckDB connection with this location's lake (and others', read-only) attached;
`LakeIOManager` stores what assets return. Neither imports DuckDB or polars until it is used, so definitions load fast.
"""

from platform_kit.lake.errors import LakeError
from platform_kit.lake.io_manager import LakeIOManager
from platform_kit.lake.resource import LakeResource
from platform_kit.lake.tables import TableName

__all__ = ["LakeError", "LakeIOManager", "LakeResource", "TableName"]
