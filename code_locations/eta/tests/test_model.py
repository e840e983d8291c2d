"""The model: split in time, the same each time, in a file that cannot run code."""

import subprocess
import sys
import zipfile
from datetime import date
from importlib.metadata import version
from pathlib import Path

import pandas
import polars as pl
import pytest
from eta import model
from eta.days import HELD_OUT
from eta.tables import CATEGORIES, NUMBERS


@pytest.fixture(scope="module")
def trained(features: pl.DataFrame) -> model.Trained:
    return model.train(features)


@pytest.fixture
def stored(trained: model.Trained, tmp_path: Path) -> tuple[str, Path]:
    return model.store(trained.estimator, tmp_path / "models")


def test_a_model_learns_from_the_days_before_the_held_out_month(trained: model.Trained, features: pl.DataFrame) -> None:
    seen = features.filter(pl.col("flight_date") < HELD_OUT, pl.col("arr_delay").is_not_null())
    assert (trained.first, trained.last, trained.flights) == (date(2013, 10, 3), date(2013, 11, 30), seen.height)


def test_nothing_of_the_held_out_month_changes_the_model(
    trained: model.Trained, features: pl.DataFrame, stored: tuple[str, Path], tmp_path: Path
) -> None:
    later = pl.col("flight_date") >= HELD_OUT
    names = [*NUMBERS, "arr_delay"]
    spoilt = features.with_columns(pl.when(later).then(777.0).otherwise(pl.col(name)).alias(name) for name in names)
    assert model.store(model.train(spoilt).estimator, tmp_path)[0] == stored[0]
    day_before = pl.when(pl.col("flight_date") == date(2013, 11, 30))
    other = features.with_columns(arr_delay=day_before.then(pl.col("arr_delay") + 5).otherwise(pl.col("arr_delay")))
    assert model.store(model.train(other).estimator, tmp_path)[0] != stored[0], "the day before it does"


ELSEWHERE = """
import sys
from pathlib import Path
import polars, threadpoolctl
from eta import model
with threadpoolctl.threadpool_limits(3):
    print(model.store(model.train(polars.read_parquet(sys.argv[1])).estimator, Path(sys.argv[1]).parent)[0])
"""


def test_the_same_data_gives_the_same_version_in_any_process_with_any_number_of_threads(
    features: pl.DataFrame, tmp_path: Path
) -> None:
    some = features.gather_every(10)
    some.write_parquet(tmp_path / "some.parquet")
    found = {model.store(model.train(some).estimator, tmp_path / "here")[0]}
    settings = {"PATH": "", "PYTHONPATH": ":".join(filter(None, sys.path)), "PYTHONHASHSEED": "7"}
    command = [sys.executable, "-c", ELSEWHERE, str(tmp_path / "some.parquet")]
    done = subprocess.run(command, env=settings, capture_output=True, text=True, check=True)
    found.add(done.stdout.strip())
    assert len(found) == 1


def test_a_model_that_is_read_back_predicts_the_same(
    trained: model.Trained, features: pl.DataFrame, stored: tuple[str, Path]
) -> None:
    again = model.load(stored[1], stored[0], model.libraries())
    rows = features.gather_every(20)
    assert model.predict(again, rows).equals(model.predict(trained.estimator, rows))


def test_a_prediction_is_the_departure_delay_and_what_the_estimator_adds(
    trained: model.Trained, features: pl.DataFrame
) -> None:
    rows = features.filter(flight_date=date(2013, 12, 24))
    table = pandas.DataFrame(rows.to_dict(as_series=False))
    table = table.astype(dict.fromkeys(CATEGORIES, "category"))[[*CATEGORIES, *NUMBERS]]
    expected = table["dep_delay"] + trained.estimator.predict(table)
    found = model.predict(trained.estimator, rows)
    assert found.null_count() == rows["dep_delay"].null_count() > 0
    assert found.drop_nulls().to_list() == expected.dropna().tolist()


def test_an_airport_that_is_new_to_the_model_has_a_prediction(trained: model.Trained, features: pl.DataFrame) -> None:
    rows = features.drop_nulls("dep_delay").head(3).with_columns(dest=pl.lit("XXX"))
    assert model.predict(trained.estimator, rows).is_finite().all()


def test_training_without_its_months_says_which(features: pl.DataFrame) -> None:
    with pytest.raises(model.ModelError, match=r"0 flights before 2013-11-01 and \d+ from there to 2013-12-01"):
        model.train(features.filter(pl.col("flight_date") > date(2013, 11, 5)))


def test_a_file_that_was_changed_is_refused(stored: tuple[str, Path], features: pl.DataFrame, tmp_path: Path) -> None:
    name, file = stored
    _, other = model.store(model.train(features.gather_every(20)).estimator, tmp_path)
    other.replace(file)
    with pytest.raises(model.ModelError, match=rf"the file of model {name} holds [0-9a-f]{{16}}: somebody has changed"):
        model.load(file, name, model.libraries())
    file.write_bytes(b"something else")
    with pytest.raises(model.ModelError, match="is no model of this location"):
        model.load(file, name, model.libraries())
    file.unlink()
    with pytest.raises(model.ModelError, match="cannot be read"):
        model.load(file, name, model.libraries())


def test_a_file_that_would_run_code_is_refused_before_it_does(tmp_path: Path) -> None:
    from sklearn.preprocessing import FunctionTransformer
    from skops.io import dumps

    content = dumps(FunctionTransformer(subprocess.getoutput))
    with pytest.raises(model.ModelError, match=r"is no model of this location: Untrusted types.*subprocess.getoutput"):
        model.loads(content, model.digest(content))


def test_a_model_of_other_libraries_is_refused_by_name(stored: tuple[str, Path]) -> None:
    made_by = model.libraries().replace(version("scikit-learn"), "1.8.0")
    with pytest.raises(model.ModelError, match=r"was made by .*1\.8\.0.*installed are .*train_and_release"):
        model.load(stored[1], stored[0], made_by)


def test_a_file_is_whole_small_and_named_by_its_version(stored: tuple[str, Path], tmp_path: Path) -> None:
    with zipfile.ZipFile(stored[1]) as archive:
        assert archive.testzip() is None
    assert stored[1].name == f"{stored[0]}.skops"
    assert stored[1].stat().st_size < 1_000_000


def test_pandas_is_older_than_three() -> None:
    """`reporting` has 3 or newer: the two cannot share an environment, and do not have to."""
    assert version("pandas").split(".")[0] == "2"
    lock = (Path(__file__).parents[1] / "requirements.lock").read_text()
    for library in model.LIBRARIES:
        assert f"\n{library}=={version(library)} " in lock, library
