"""Plots as Markdown that Dagster shows: a PNG inside the text, so that no file has to be served."""

import base64
import io
from typing import TYPE_CHECKING, Any

import dagster as dg

from eta.judging import CANDIDATE

if TYPE_CHECKING:
    import polars
    from matplotlib.figure import Figure


def error_by_hour(evaluation: "polars.DataFrame") -> dg.MarkdownMetadataValue:
    """Mean absolute error by hour of scheduled departure: the candidate as bars, all others as lines."""
    import polars as pl

    figure, axes = _figure()
    by_hour = evaluation.filter(pl.col("hour").is_not_null())
    for (predictor,), rows in by_hour.group_by("predictor", maintain_order=True):
        if predictor == CANDIDATE:
            axes.bar(rows["hour"].to_list(), rows["mae"].to_list(), color="#7fb3d5", label=predictor)
        else:
            axes.plot(rows["hour"].to_list(), rows["mae"].to_list(), marker=".", linewidth=1, label=str(predictor))
    axes.set_xticks(sorted(set(by_hour["hour"].to_list())))
    axes.set_xlabel("hour of scheduled departure")
    axes.set_ylabel("mean absolute error, minutes")
    figure.legend(loc="outside upper center", ncols=4, frameon=False, fontsize=8)
    return _markdown(figure, "Error by hour of day")


def importance(minutes: dict[str, float]) -> dg.MarkdownMetadataValue:
    """By how many minutes the error grows when a feature's values are shuffled."""
    figure, axes = _figure(height=3.6)
    ordered = sorted(minutes.items(), key=lambda item: item[1])
    axes.barh([name for name, _ in ordered], [value for _, value in ordered], color="#7fb3d5")
    axes.set_xlabel("error without it, minutes more")
    axes.tick_params(axis="y", labelsize=8)
    return _markdown(figure, "Importance of features")


def _figure(height: float = 3.0) -> tuple["Figure", Any]:
    # Not by pyplot, which keeps every figure for the life of the process.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, height), dpi=80, layout="constrained")
    return figure, figure.subplots()


def _markdown(figure: "Figure", title: str) -> dg.MarkdownMetadataValue:
    content = io.BytesIO()
    figure.savefig(content, format="png", metadata={"Software": None})
    return dg.MetadataValue.md(f"![{title}](data:image/png;base64,{base64.b64encode(content.getvalue()).decode()})")
