"""The model: trained, stored as a file that cannot run code, read back, asked.

It predicts the minutes that a flight loses or makes up under way; the departure delay is known and is added. That is
a smaller question than the arrival delay itself, and is answered better: trained on the year, an error of 12.5 minutes
instead of 12.8, and of 17.1 instead of 18.7 by its root mean square.
"""

import hashlib
import io
import json
import re
import zipfile
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eta.days import HELD_OUT, VALIDATION
from eta.tables import CATEGORIES, NUMBERS

if TYPE_CHECKING:
    import numpy
    import pandas
    import polars

# A model is read by the very versions that made it: others may read it wrongly without a word.
LIBRARIES = ("numpy", "pandas", "scikit-learn", "scipy", "skops")
# What a file may hold beside numbers; skops refuses anything else before it is made.
TRUSTED = [
    "functools.partial",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.utils.validation.check_array",
]
MOST_TREES = 400


class ModelError(Exception):
    """A model cannot be made or used; the message says why and what to do."""


@dataclass(frozen=True)
class Trained:
    """A model and what it learned from."""

    estimator: Any
    first: date
    last: date
    flights: int
    trees: int


def train(features: "polars.DataFrame") -> Trained:
    """Learn from the days before HELD_OUT, in the order of the rows; the validation month says when to stop."""
    import polars as pl

    seen = features.filter(pl.col("flight_date") < HELD_OUT, pl.col("arr_delay").is_not_null())
    earlier, later = (
        seen.filter(part) for part in (pl.col("flight_date") < VALIDATION, pl.col("flight_date") >= VALIDATION)
    )
    if earlier.is_empty() or later.is_empty():
        raise ModelError(
            f"features/flights has {earlier.height} flights before {VALIDATION} and {later.height} from there to "
            f"{HELD_OUT}: materialise the days of both before training"
        )
    trees = _fit(earlier, later).n_iter_
    # With their number settled, the validation month is learned as well: winter winds are not in the days before it.
    estimator = _fit(seen, trees=trees)
    return Trained(estimator, seen["flight_date"].min(), seen["flight_date"].max(), seen.height, int(trees))  # type: ignore[arg-type]


def _fit(rows: "polars.DataFrame", validation: "polars.DataFrame | None" = None, trees: int = MOST_TREES) -> Any:
    from sklearn.ensemble import HistGradientBoostingRegressor
    from threadpoolctl import threadpool_limits

    estimator = HistGradientBoostingRegressor(
        max_iter=trees,
        early_stopping=validation is not None,
        n_iter_no_change=20,
        categorical_features="from_dtype",
        random_state=0,
    )
    extra = {} if validation is None else {"X_val": inputs(validation), "y_val": _minutes_lost(validation)}
    # One thread: their number is written into the model, whose hash would then depend on the machine. A run has one
    # processor, where more threads only wait for each other.
    with threadpool_limits(1, "openmp"):
        return estimator.fit(inputs(rows), _minutes_lost(rows), **extra)


def inputs(rows: "polars.DataFrame") -> "pandas.DataFrame":
    """What the estimator sees. scikit-learn takes from pandas' types which columns are categories."""
    import pandas

    return pandas.DataFrame(
        {
            **{name: pandas.Categorical(rows[name].to_numpy()) for name in CATEGORIES},
            **{name: rows[name].to_numpy() for name in NUMBERS},
        }
    )


def _minutes_lost(rows: "polars.DataFrame") -> "numpy.ndarray[Any, Any]":
    return (rows["arr_delay"] - rows["dep_delay"]).to_numpy()


def predict(estimator: Any, rows: "polars.DataFrame") -> "polars.Series":
    """Arrival delay of each row in minutes; null where a flight has not departed."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, "openmp"):
        return (rows["dep_delay"] + estimator.predict(inputs(rows))).alias("predicted_arr_delay")


def libraries() -> str:
    """The versions that are installed here, as they are stored with a model."""
    return json.dumps({name: version(name) for name in LIBRARIES})


def store(estimator: Any, folder: Path) -> tuple[str, Path]:
    """Write the model, named by its content; gives its version and file. One that is there already is left alone."""
    from skops.io import dumps

    content = dumps(estimator, compression=zipfile.ZIP_DEFLATED)
    name = digest(content)
    file = folder / f"{name}.skops"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        # A reader sees the whole file or none.
        part = file.with_suffix(".part")
        part.write_bytes(content)
        part.replace(file)
    return name, file


def load(file: Path, expected: str, made_by: str) -> Any:
    """The estimator of a file, if it is what was stored as version `expected` by these libraries; else ModelError."""
    if made_by != libraries():
        raise ModelError(
            f"model {expected} was made by {made_by}, installed are {libraries()}: run the job "
            "train_and_release, which makes a model with these"
        )
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ModelError(
            f"the file of model {expected} cannot be read: {error}. Run the job train_and_release"
        ) from None
    return loads(content, expected)


def loads(content: bytes, expected: str) -> Any:
    """The estimator of a file's content."""
    from skops import io as skops

    try:
        found = digest(content)
        if found != expected:
            raise ModelError(f"the file of model {expected} holds {found}: somebody has changed it")
        return skops.loads(content, trusted=TRUSTED)
    except (zipfile.BadZipFile, KeyError, skops.exceptions.UntrustedTypesFoundException) as error:
        raise ModelError(f"the file of model {expected} is no model of this location: {error}") from None


def digest(content: bytes) -> str:
    """A hash of what the file says. skops numbers objects by their address in memory, which differs from run to run."""
    archive = zipfile.ZipFile(io.BytesIO(content))
    schema = archive.read("schema.json").decode()
    told = hashlib.sha256(re.sub(r'"__id__": \d+|\d+(?=\.npy)', "", schema).encode())
    for name in re.findall(r'"(\d+\.npy)"', schema):
        told.update(archive.read(name))
    return told.hexdigest()[:16]
