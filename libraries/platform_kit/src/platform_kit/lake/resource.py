"""The lake as a Dagster resource."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dagster import AssetKey, ConfigurableResource

from platform_kit import environment
from platform_kit.environment import Environment
from platform_kit.lake import connection as connections
from platform_kit.lake import tables
from platform_kit.lake.frames import materialised, to_polars
from platform_kit.lake.partitions import Partitions
from platform_kit.personal.sealing import opened

if TYPE_CHECKING:
    import polars
    from duckdb import DuckDBPyConnection


class LakeResource(ConfigurableResource[Any]):
    """This code location's lake, and others' to read.

    `code_location` is for work outside a container, where the image does not say it. Everything else follows from the
    environment when the resource is used; nothing secret is in its configuration, which Dagster shows.
    """

    code_location: str | None = None

    @property
    def environment(self) -> Environment:
        """Where this process runs."""
        return environment.current(self.code_location)

    @contextmanager
    def connect(self, reads: Iterable[str] = ()) -> Iterator["DuckDBPyConnection"]:
        """A DuckDB connection with this lake attached by its location's name, and those in `reads` read-only."""
        with connections.connect(self.environment, reads) as connection:
            yield connection

    def query(self, sql: str, parameters: Sequence[object] = (), reads: Iterable[str] = ()) -> "polars.DataFrame":
        """The rows of a query as a polars frame; personal values are in clear where this location has their key."""
        with self.connect(reads) as connection:
            return opened(to_polars(connection.sql(sql, params=list(parameters))), self.environment)

    def table(self, key: AssetKey) -> tables.TableName:
        """The table of an asset key [catalog, schema, table] in this environment."""
        return tables.TableName.of_key(key.path, self.environment)

    def replace(
        self,
        key: AssetKey,
        frame: object,
        partitions: Partitions | None = None,
        partitioned_by: Sequence[str] = (),
        personal: Sequence[str] = (),
    ) -> tables.Written:
        """Replace the rows of some partitions of an asset's table, or all its rows, in one transaction.

        Columns named in `personal` are sealed, and so are those that the table has sealed already.
        """
        place, table = self.environment, self.table(key)
        with self.connect() as connection:
            return tables.replace(
                *(connection, place, table, materialised(frame, key.to_user_string())),
                *(partitions, partitioned_by, personal),
            )
