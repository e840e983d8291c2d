"""What the steps of a release read of what the steps before them stored."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from eta.tables import ACCEPTED, FEATURES, IN_ORDER, MODEL
from platform_kit.lake import LakeResource

if TYPE_CHECKING:
    import polars


@dataclass(frozen=True)
class Model:
    """A model by its row in the lake."""

    version: str
    file: str
    libraries: str

    def estimator(self) -> Any:
        """The model itself; a ModelError when its file is not what was stored, or was made by other libraries."""
        from eta import model

        return model.load(Path(self.file), self.version, self.libraries)


def features(lake: LakeResource) -> "polars.DataFrame":
    """All features there are: a branch has production's by its clone, a laptop those of its last 90 days.

    In one order, because a model's rounding, and so its version, follows the order of the rows.
    """
    return lake.query(f"FROM {lake.table(FEATURES.asset_key).sql} ORDER BY {IN_ORDER}")


def candidate(lake: LakeResource) -> tuple[Model, "polars.DataFrame"]:
    """The latest model that was trained, and its row."""
    rows = lake.query(f"FROM {lake.table(MODEL.asset_key).sql}")
    return Model(*rows.select("version", "file", "libraries").row(0)), rows


def accepted(lake: LakeResource) -> "polars.DataFrame":
    """All models that ever passed the gate, the one in force last; no rows, and no columns, when there is none."""
    import polars as pl

    table = lake.table(ACCEPTED.asset_key)
    with lake.connect() as connection:
        there = connection.execute(
            "SELECT 1 FROM duckdb_tables() WHERE (database_name, schema_name, table_name) = (?, ?, ?)",
            [table.catalog, table.schema, table.table],
        ).fetchall()
    return lake.query(f"FROM {table.sql} ORDER BY created_at") if there else pl.DataFrame()


def in_force(lake: LakeResource) -> Model:
    """The model that predicts: the last one that passed the gate."""
    rows = accepted(lake)
    if rows.is_empty():
        raise dg.Failure("No model has passed the release gate yet: run the job train_and_release.")
    return Model(*rows.select("version", "file", "libraries").row(-1))
