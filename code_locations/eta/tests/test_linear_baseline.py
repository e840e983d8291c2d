"""The second opinion in R, as far as it is known without R; tests/test_pipes.py has it at work, in the image."""

from collections.abc import Callable
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from eta.defs.linear_baseline.linear_baseline import LINEAR_BASELINE, READ, SCRIPT, TERMS
from eta.tables import FEATURES

from platform_kit.lake import LakeResource

pytestmark = pytest.mark.filterwarnings("ignore:Function `PipesMessageReader.expected_writer_count`")


def test_r_sees_what_is_known_at_departure_and_what_it_shall_predict() -> None:
    assert set(TERMS) < set(FEATURES.columns)
    assert "arr_delay" not in TERMS
    assert set(READ) - set(TERMS) == {"flight_date", "arr_delay"}


def test_without_r_the_run_says_what_is_missing(
    lake: LakeResource,
    features: pl.DataFrame,
    run: Callable[..., dg.ExecuteInProcessResult],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    lake.replace(FEATURES.asset_key, features.head(100))
    monkeypatch.setenv("PATH", str(tmp_path))
    result = run(LINEAR_BASELINE.asset_key)
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert "There is no Rscript here." in str(failure.step_failure_data.error)


def test_the_scripts_are_in_the_package() -> None:
    assert SCRIPT.is_file()
    assert SCRIPT.with_name("dagster_pipes.R").is_file()
