"""The release gate: what it lets through, what it stops, and what stays in force."""

import base64
import io
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import polars as pl
import pytest
from eta import judging, model
from eta.days import HELD_OUT
from eta.tables import ACCEPTED, EVALUATION, FEATURES, MODEL, PREDICTIONS
from PIL import Image

from platform_kit.lake import LakeResource

Run = Callable[..., dg.ExecuteInProcessResult]
ROW = {"trained_from": pl.Date, "trained_until": pl.Date, "flights": pl.Int64, "trees": pl.Int64}
DAY, NEXT_DAY = "2013-12-24", "2013-12-25"


def executed(result: dg.ExecuteInProcessResult) -> set[str]:
    """The assets that were materialised."""
    return {event.asset_key.path[-1] for event in result.get_asset_materialization_events() if event.asset_key}


def gate(result: dg.ExecuteInProcessResult) -> dg.AssetCheckEvaluation:
    (found,) = [found for found in result.get_asset_check_evaluations() if found.check_name == "release_gate"]
    return found


def mae(result: dg.ExecuteInProcessResult, predictor: str) -> float:
    value = gate(result).metadata[f"mae/{predictor}"].value
    assert isinstance(value, float)
    return value


@pytest.fixture
def store(lake: LakeResource) -> Callable[[pl.DataFrame], None]:
    """Put features into the lake."""
    return lambda frame: void(lake.replace(FEATURES.asset_key, frame))


def void(_: object) -> None:
    return None


@pytest.fixture
def release(run: Run, keys: SimpleNamespace) -> Callable[[], dg.ExecuteInProcessResult]:
    """Train, judge, release and predict a day, in one run."""
    return lambda: run(keys.candidate, keys.evaluation, keys.accepted, keys.predictions, first=DAY)


@pytest.fixture
def some(features: pl.DataFrame) -> pl.DataFrame:
    """A third of the flights: enough for a model that passes."""
    return features.gather_every(3)


@pytest.fixture
def bad(some: pl.DataFrame) -> pl.DataFrame:
    """Features to learn wrong things from: those of the held-out month are right."""
    wrong = pl.when(pl.col("flight_date") < HELD_OUT).then(pl.col("arr_delay") + 30).otherwise(pl.col("arr_delay"))
    return some.with_columns(arr_delay=wrong)


def test_a_worse_model_is_stopped_and_the_last_good_one_goes_on_predicting(
    run: Run,
    release: Callable[[], dg.ExecuteInProcessResult],
    store: Callable[[pl.DataFrame], None],
    lake: LakeResource,
    keys: SimpleNamespace,
    some: pl.DataFrame,
    bad: pl.DataFrame,
) -> None:
    store(some)
    first = release()
    assert first.success
    assert gate(first).passed
    assert executed(first) == {"delay_model", "evaluation", "accepted_model", "arrival_delays"}
    (good,) = lake.query("SELECT version FROM eta.ada_model.accepted_model")["version"].to_list()

    store(bad)
    second = release()
    assert not second.success
    assert executed(second) == {"delay_model", "evaluation"}, "the check keeps what is after it from running"
    assert not gate(second).passed
    assert gate(second).blocking
    assert "the model in force has" in str(gate(second).description)
    assert "the baseline departure_delay has" in str(gate(second).description)
    assert lake.query("SELECT version FROM eta.ada_model.accepted_model")["version"].to_list() == [good]
    assert lake.query("SELECT version FROM eta.ada_model.delay_model").item() != good

    alone = run(keys.accepted)
    assert not alone.success, "nor is it released by hand"
    assert "does not pass the release gate" in str(failures(alone))

    later = run(keys.predictions, first=DAY, last=NEXT_DAY)
    assert later.success
    events = later.asset_materializations_for_node("eta__predictions__arrival_delays")
    assert [event.metadata["model_version"].value for event in events] == [good, good]
    versions = lake.query("SELECT flight_date, model_version FROM eta.ada_predictions.arrival_delays GROUP BY ALL")
    assert sorted(versions.rows()) == [(date(2013, 12, 24), good), (date(2013, 12, 25), good)]

    store(some)
    again = run(keys.candidate, keys.evaluation, keys.accepted)
    assert again.success
    assert mae(again, "accepted") == mae(again, "candidate") == mae(first, "candidate")
    assert lake.query("SELECT version FROM eta.ada_model.accepted_model")["version"].to_list() == [good], "once"


def failures(result: dg.ExecuteInProcessResult) -> list[str]:
    return [str(event.step_failure_data.error) for event in result.get_step_failure_events()]


def test_after_an_upgrade_of_its_libraries_a_model_in_force_is_judged_by_its_recorded_error(
    run: Run, store: Callable[[pl.DataFrame], None], lake: LakeResource, keys: SimpleNamespace, some: pl.DataFrame
) -> None:
    store(some)
    old = {name: [None] for name in ACCEPTED.columns} | {
        "version": ["abc"],
        "file": ["gone"],
        "libraries": ["older ones"],
    }
    lake.replace(keys.accepted, pl.DataFrame(old | {"mae": [1.5], "created_at": [datetime.now(UTC)]}).cast(ROW))
    stopped = run(keys.candidate, keys.evaluation, keys.accepted)
    assert executed(stopped) == {"delay_model", "evaluation"}
    assert mae(stopped, "accepted") == 1.5
    assert "was made by older ones" in str(failures(run(keys.predictions, first=DAY)))


def test_a_release_makes_predictions_that_equal_the_model_and_shows_its_errors_and_plots(
    release: Callable[[], dg.ExecuteInProcessResult],
    store: Callable[[pl.DataFrame], None],
    lake: LakeResource,
    some: pl.DataFrame,
) -> None:
    store(some)
    result = release()
    has_the_models_predictions(result, lake, some)
    shows_plots(result)
    has_errors_as_by_hand(lake, some)


def has_the_models_predictions(result: dg.ExecuteInProcessResult, lake: LakeResource, some: pl.DataFrame) -> None:
    rows = some.filter(flight_date=date(2013, 12, 24))
    stored = lake.query("FROM eta.ada_predictions.arrival_delays")
    version, file = lake.query("SELECT version, file FROM eta.ada_model.accepted_model").row(0)
    expected = rows.with_columns(model.predict(model.loads(Path(file).read_bytes(), version), rows))
    shared = ["flight_date", "carrier", "flight", "origin", "dest", "predicted_arr_delay"]
    assert stored.columns == list(PREDICTIONS.columns)
    assert stored.select(shared).sort(shared[:4]).equals(expected.select(shared).sort(shared[:4]))
    (event,) = result.asset_materializations_for_node("eta__predictions__arrival_delays")
    assert event.metadata["dagster/partition_row_count"].value == rows.height
    assert event.metadata["model_version"].value == version
    # The tables are what they are declared to be.
    for table in (FEATURES, MODEL, EVALUATION, ACCEPTED, PREDICTIONS):
        with lake.connect() as connection:
            described = connection.execute(f"DESCRIBE {lake.table(table.asset_key).sql}").fetchall()
        assert {row[0]: row[1] for row in described} == {name: column.type for name, column in table.columns.items()}


def test_a_prediction_comes_from_every_column_that_lineage_names(features: pl.DataFrame) -> None:
    rows = features.drop_nulls("dep_delay").gather_every(5)
    estimator = model.train(features.gather_every(2)).estimator
    before = model.predict(estimator, rows)
    used = {
        name
        for name in rows.columns
        if not model.predict(estimator, rows.with_columns(rows[name].reverse())).equals(before)
    }
    declared = PREDICTIONS.lineage.deps_by_column["predicted_arr_delay"]
    assert used == {dep.column_name for dep in declared if dep.asset_key == FEATURES.asset_key}


def shows_plots(result: dg.ExecuteInProcessResult) -> None:
    (event,) = result.asset_materializations_for_node("eta__model__evaluation")
    for plot in ("error_by_hour", "importance"):
        text = str(event.metadata[plot].value)
        start = text.index("](data:image/png;base64,") + len("](data:image/png;base64,")
        content = base64.b64decode(text[start:-1], validate=True)
        with Image.open(io.BytesIO(content)) as image:
            image.load()
            assert image.format == "PNG"
            assert image.size[0] == 560
            assert len(image.convert("RGB").getcolors(1 << 16) or []) > 10
        assert len(text) < 60_000, "it is stored with the event"


def has_errors_as_by_hand(lake: LakeResource, some: pl.DataFrame) -> None:
    rows = judging.held_out(some)
    stored = lake.query("FROM eta.ada_model.evaluation")
    own = stored.filter(predictor="candidate")
    assert own.filter(pl.col("hour").is_null())["flights"].item() == rows.height == own["flights"].sum() / 2
    by_hand = (rows["dep_delay"] - rows["arr_delay"]).filter(rows["sched_dep_minute"] // 60 == 18)
    found = stored.filter(predictor="departure_delay", hour=18).row(0, named=True)
    assert found["flights"] == len(by_hand)
    assert found["mae"] == pytest.approx(by_hand.abs().mean())
    assert found["bias"] == pytest.approx(by_hand.mean())


def test_a_route_of_a_baseline_is_known_from_the_days_before(features: pl.DataFrame) -> None:
    spoilt = features.with_columns(
        arr_delay=pl.when(pl.col("flight_date") >= HELD_OUT)
        .then(pl.col("arr_delay") + 500)
        .otherwise(pl.col("arr_delay"))
    )
    for name, values in judging.baselines(features).items():
        assert values.equals(judging.baselines(spoilt)[name])
        assert values.null_count() == 0


def test_an_evaluation_of_half_a_month_is_refused(
    run: Run, store: Callable[[pl.DataFrame], None], keys: SimpleNamespace, some: pl.DataFrame
) -> None:
    store(some.filter(~pl.col("flight_date").is_between(date(2013, 12, 10), date(2013, 12, 12))))
    result = run(keys.candidate, keys.evaluation, keys.accepted)
    assert executed(result) == {"delay_model"}
    assert "3 of 31 days of the held-out month have no features" in str(failures(result))
    assert "from 2013-12-10 to 2013-12-12" in str(failures(result))


def test_predicting_without_a_model_in_force_says_what_to_do(
    run: Run, store: Callable[[pl.DataFrame], None], keys: SimpleNamespace, some: pl.DataFrame
) -> None:
    store(some)
    assert "run the job train_and_release" in str(failures(run(keys.predictions, first=DAY)))


def judged(**maes: float) -> judging.Verdict:
    rows: list[dict[str, Any]] = [
        {"version": "abc", "predictor": name, "hour": None, "flights": 1, "mae": mae, "rmse": 1.0, "bias": 0.0}
        for name, mae in maes.items()
    ]
    return judging.verdict(pl.DataFrame([*rows, {**rows[0], "hour": 5, "mae": 99.0}], infer_schema_length=None))


NAMES = {
    "departure_delay": "the baseline departure_delay",
    "route_mean": "the baseline route_mean",
    "accepted": "in force",
}
GATE: dict[str, tuple[float, float | None, list[str]]] = {
    "better than the baselines": (12.0, None, []),
    "worse than a route's mean": (13.5, None, ["route_mean"]),
    "equal to it": (13.3, None, ["route_mean"]),
    "worse than no model": (14.0, None, ["departure_delay", "route_mean"]),
    "worse than the one in force, within tolerance": (12.2, 12.0, []),
    "worse than that": (12.3, 12.0, ["accepted"]),
    "no error at all": (float("nan"), 12.0, ["departure_delay", "route_mean", "accepted"]),
}


@pytest.mark.parametrize("case", GATE)
def test_the_gate_asks_for_better_than_every_baseline_and_no_worse_than_before(case: str) -> None:
    candidate, accepted, objections = GATE[case]
    in_force = {} if accepted is None else {"accepted": accepted}
    found = judged(candidate=candidate, departure_delay=13.7, route_mean=13.3, **in_force)
    assert found.passed == (not objections)
    for name, text in zip(objections, found.objections, strict=True):
        assert ("the model in force" if name == "accepted" else f"the baseline {name}") in text
