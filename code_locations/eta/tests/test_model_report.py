"""The notebook: executed in a kernel of its own, told to Dagster from inside it."""

import json
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from eta.defs.linear_baseline.linear_baseline import LINEAR_BASELINE
from eta.defs.model_report.model_report import NOTEBOOK
from eta.defs.model_report.notebook import run_notebook
from eta.tables import EVALUATION

from platform_kit.lake import LakeResource

REPORT = dg.AssetKey(["eta", "reports", "model_report"])
pytestmark = pytest.mark.filterwarnings(
    "ignore:Function `PipesMessageReader.expected_writer_count`",  # Dagster's own code uses what it calls a preview
    "ignore:Proactor event loop",
)
Run = Callable[..., dg.ExecuteInProcessResult]


@pytest.fixture
def judged(lake: LakeResource) -> LakeResource:
    """The lake with what the report is about."""
    hours = [None, 6, 18]
    errors = [
        (name, hour, 100, mae, 20.0, 0.5) for name, mae in (("candidate", 9.5), ("route_mean", 13.0)) for hour in hours
    ]
    columns = ["predictor", "hour", "flights", "mae", "rmse", "bias"]
    frame = pl.DataFrame(errors, columns, orient="row").with_columns(pl.lit("v1").alias("version"))
    lake.replace(EVALUATION.asset_key, frame.select(EVALUATION.columns.keys()))
    terms = [("(Intercept)", 1.0, 0.1, 99.0, 0.0), ("distance", 0.2, 0.1, 2.0, 0.04), ("precip", -4.0, 0.1, -40.0, 0.0)]
    lake.replace(LINEAR_BASELINE.asset_key, pl.DataFrame(terms, list(LINEAR_BASELINE.columns), orient="row"))
    return lake


def test_the_report_is_a_notebook_and_a_page_and_its_findings_are_in_the_run(
    judged: LakeResource, run: Run, capfd: pytest.CaptureFixture[str]
) -> None:
    result = run(REPORT)
    assert result.success
    (materialisation,) = result.asset_materializations_for_node("eta__reports__model_report")
    told = {name: value.value for name, value in materialisation.metadata.items()}
    assert (told["smallest_error"], told["mae"], told["strongest_term"]) == ("candidate", 9.5, "precip")
    assert "| candidate | 9.50 |\n| route_mean | 13.00 |" in told["errors"]
    assert "smallest error: candidate, 9.50 minutes over 100 flights" in capfd.readouterr().err

    executed = json.loads(Path(told["notebook"]).read_text())
    outputs = [output["output_type"] for cell in executed["cells"] for output in cell.get("outputs", ())]
    assert "display_data" in outputs, "the plot"
    page = Path(told["page"]).read_text()
    assert "image/png;base64," in page
    assert 'src="http' not in page
    assert Path(told["page"]).parent == judged.environment.lake_data_path() / "reports" / "model_report"


def test_a_cell_that_fails_fails_the_run_by_its_number_and_error(
    lake: LakeResource, run: Run, tmp_path: Path
) -> None:  # fmt: skip
    failure = failure_of(tmp_path, ["pipes_bootstrap = {}", "learned = 0", "print(1 / learned)"])
    assert failure.description == "Cell 4 of failing.ipynb failed: ZeroDivisionError: division by zero"
    assert failure.metadata["cell"].value == "```python\nprint(1 / learned)\n```"
    assert "ZeroDivisionError" in str(failure.metadata["traceback"].value)
    assert "\x1b" not in str(failure.metadata["traceback"].value)
    assert "ZeroDivisionError" in Path(str(failure.metadata["notebook"].value)).read_text()


def test_a_notebook_that_reports_nothing_is_told_so(lake: LakeResource, tmp_path: Path) -> None:
    assert failure_of(tmp_path, ["pipes_bootstrap = {}"]).description == (
        "failing.ipynb reported 0 materialisations, expected one: pipes.report_asset_materialization(…)"
    )


def failure_of(tmp_path: Path, cells: list[str]) -> dg.Failure:
    """How the run of a notebook with these cells fails; the first holds its parameters."""
    content = json.loads(NOTEBOOK.read_text())
    content["cells"] = [
        {"cell_type": "code", "id": f"c{n}", "execution_count": None, "outputs": [], "source": source,
         "metadata": {} if n else {"tags": ["parameters"]}}
        for n, source in enumerate(cells)
    ]  # fmt: skip
    notebook = tmp_path / "failing.ipynb"
    notebook.write_text(json.dumps(content))

    @dg.asset(key=REPORT)
    def failing(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        return run_notebook(context, notebook, {}, tmp_path / "reports")

    with pytest.raises(dg.Failure) as raised:
        dg.materialize([failing])
    return raised.value
