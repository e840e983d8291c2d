"""The I/O manager: an asset returns a table, the lake stores it; another one names its type and receives it."""

# ruff: noqa: S608  SQL is what this module builds: names are quoted, and a partition expression is the asset's own code.

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from dagster import ConfigurableIOManager, InitResourceContext, InputContext, OutputContext
from pydantic import PrivateAttr

from platform_kit.lake import metadata
from platform_kit.lake.errors import LakeError
from platform_kit.lake.frames import columns_of, materialised, to_polars
from platform_kit.lake.partitions import Partitions, of_run
from platform_kit.lake.resource import LakeResource
from platform_kit.lake.schemas import personal_columns
from platform_kit.lake.tables import Written
from platform_kit.personal import tagged_columns
from platform_kit.personal.sealing import opened

if TYPE_CHECKING:
    import polars
    from duckdb import DuckDBPyConnection


class LakeIOManager(ConfigurableIOManager):
    """Stores what assets return in the table of their key, and loads it by the type an input is annotated with.

    Asset metadata it reads: `partition_expr` (needed by partitioned assets), `partitioned_by` (a list of DuckLake
    partition transforms, for the layout of the files), `preview` (False keeps rows out of the event log).
    """

    code_location: str | None = None
    _open: ExitStack = PrivateAttr(default_factory=ExitStack)

    @property
    def lake(self) -> LakeResource:
        """The lake that is written and read."""
        return LakeResource(code_location=self.code_location)

    def handle_output(self, context: OutputContext, obj: object) -> None:
        """Replace the rows of the run's partitions, or all rows, and tell Dagster what the table holds now."""
        if obj is None:  # an asset that stores its rows itself
            return
        definition = context.definition_metadata
        key = context.asset_key
        partitions = of_run(context, definition, key.to_user_string())
        frame = materialised(obj, key.to_user_string())
        written = self.lake.replace(
            key, frame, partitions, definition.get("partitioned_by") or (), tagged_columns(definition)
        )
        common = metadata.of_every_partition(self.lake.table(key), written)
        whole = {
            **metadata.of_table(written, frame if definition.get("preview", True) else None, definition),
            **metadata.link(self.lake.environment, self.lake.table(key)),
        }
        if partitions is None:
            context.add_output_metadata({**common, **whole})
            return
        context.add_output_metadata(common)
        _describe_partitions(context, partitions, written, whole)

    def load_input(self, context: InputContext) -> Any:
        """The table of an asset, or its rows of the run's partitions, as the type of the input."""
        import duckdb
        import polars

        wanted = context.dagster_type.typing_type
        if wanted is polars.LazyFrame:
            return self._lazy(context)
        if wanted is duckdb.DuckDBPyRelation:
            # Alive until the step ends: a relation reads when it is used.
            connection = self._open.enter_context(self.lake.connect(self._reads(context)))
            return connection.sql(self._select(connection, context))
        if wanted in (polars.DataFrame, Any, type(None)):
            with self.lake.connect(self._reads(context)) as connection:
                return self._opened(connection, context, to_polars(connection.sql(self._select(connection, context))))
        raise LakeError(
            f"input {context.name} is annotated with {wanted}: the lake gives polars.DataFrame, polars.LazyFrame or "
            "duckdb.DuckDBPyRelation"
        )

    def teardown_after_execution(self, context: InitResourceContext) -> None:
        """Close the connections that relations were read from."""
        del context
        self._open.close()

    def _reads(self, context: InputContext) -> list[str]:
        catalog = context.asset_key.path[0]
        return [] if catalog == self.lake.environment.code_location else [catalog]

    def _select(self, connection: "DuckDBPyConnection", context: InputContext, columns: str = "*") -> str:
        import duckdb

        table = self.lake.table(context.asset_key)
        try:
            columns_of(connection, table.sql)
        except duckdb.CatalogException:
            raise LakeError(f"table {table} does not exist: materialise {context.asset_key.to_user_string()}") from None
        # Input metadata first: it is where an input says so for an upstream asset of another location.
        upstream = context.upstream_output.definition_metadata if context.upstream_output else {}
        partitions = of_run(context, {**upstream, **context.definition_metadata}, context.asset_key.to_user_string())
        query = f"SELECT {columns} FROM {table.sql}"
        if partitions is None:
            return query
        kind = connection.execute(f"DESCRIBE SELECT {partitions.expression} FROM {table.sql}").fetchall()[0][1]
        return f"{query} WHERE {partitions.predicate(str(kind))}"

    def _opened(
        self, connection: "DuckDBPyConnection", context: InputContext, frame: "polars.DataFrame"
    ) -> "polars.DataFrame":
        """With personal values in clear, where this location has their key."""
        types = personal_columns(connection, self.lake.table(context.asset_key))
        return opened(frame, self.lake.environment, types)

    def _lazy(self, context: InputContext) -> "polars.LazyFrame":
        """A frame that reads when it is collected, and then only the columns that are asked for."""
        from polars.io.plugins import register_io_source

        def read(
            with_columns: list[str] | None, predicate: "polars.Expr | None", n_rows: int | None, batch_size: int | None
        ) -> Any:
            del batch_size
            from platform_kit.lake.connection import quoted

            columns = ", ".join(quoted(name) for name in with_columns) if with_columns else "*"
            with self.lake.connect(self._reads(context)) as connection:
                query = self._select(connection, context, columns)
                if n_rows is not None and predicate is None:
                    query += f" LIMIT {n_rows}"
                frame = self._opened(connection, context, to_polars(connection.sql(query)))
            yield frame if predicate is None else frame.filter(predicate)

        with self.lake.connect(self._reads(context)) as connection:
            empty = to_polars(connection.sql(f"{self._select(connection, context)} LIMIT 0"))
            empty = self._opened(connection, context, empty)
        return register_io_source(read, schema=empty.schema)


def _describe_partitions(
    context: OutputContext, partitions: Partitions, written: Written, whole: dict[str, Any]
) -> None:
    """Each partition's event tells its own rows; the table's facts are told once, by the last."""
    last = len(partitions.members) - 1
    for index, member in enumerate(partitions.members):
        entries = {"dagster/partition_row_count": written.partition_rows[member.key]}
        context.step_context.add_asset_metadata(
            {**entries, **whole} if index == last else entries,
            asset_key=context.asset_key,
            partition_key=member.key,
        )
