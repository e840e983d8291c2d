"""A report for people, as a notebook: executed again by each run, kept with its page in the lake's folder."""

from pathlib import Path

import dagster as dg
from eta.days import HERE
from eta.defs.linear_baseline.linear_baseline import LINEAR_BASELINE
from eta.defs.model_report.notebook import run_notebook
from eta.tables import EVALUATION, OWNERS

NOTEBOOK = Path(__file__).with_name("model_report.ipynb")


class Report(dg.Config):
    """How much the report shows."""

    strongest_terms: int = 10
    """Terms of the linear model."""


@dg.asset(
    key=["eta", "reports", "model_report"],
    description="The errors of all models side by side and what the linear one learned, as a notebook and a page",
    deps=[EVALUATION.asset_key, LINEAR_BASELINE.asset_key],
    group_name="reports",
    owners=OWNERS,
    kinds={"jupyter"},
)
def model_report(context: dg.AssetExecutionContext, config: Report) -> dg.MaterializeResult:
    """Executes the notebook beside this file."""
    folder = HERE.lake_data_path() / "reports" / "model_report"
    return run_notebook(context, NOTEBOOK, {"strongest_terms": config.strongest_terms}, folder)
