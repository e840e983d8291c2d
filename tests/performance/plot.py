"""docs/images/performance.svg: where a run's time goes, and how many go through in a minute."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from operations.benchmark.numbers import STAGES, Spread

# Legible on white and on black; the colours differ in lightness too.
INK = "#808080"
COLOURS = dict(zip(STAGES, ("#bfbfbf", "#8da0cb", "#4c78a8", "#f2a541", "#66a61e"), strict=True))
SPENT = {
    "dequeued": "in the queue",
    "container started": "container made and started",
    "run started": "until the run starts: Python, Dagster, definitions",
    "first step": "to the first step",
    "success": "step and end of the run",
}
SIDES = ("plain", "cold", "warm")


def draw(measures: Mapping[str, Mapping[str, Any]], file: Path) -> None:
    """Both halves, as far as they were measured."""
    # The same numbers give the same file; text stays text, which is small and can be searched.
    mpl.rcParams.update(
        {"svg.hashsalt": "performance", "svg.fonttype": "none", "font.size": 10, "font.family": "sans-serif"}
    )
    figure = Figure(figsize=(9, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 1))
    _ladder(left, measures.get("ladder", {}))
    _throughput(right, measures.get("throughput", {}))
    for axes in (left, right):
        axes.patch.set_alpha(0)
        axes.tick_params(colors=INK)
        for name, spine in axes.spines.items():
            spine.set_visible(name in ("left", "bottom"))
            spine.set_color(INK)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, transparent=True, metadata={"Date": None})


def _ladder(axes: Axes, found: Mapping[str, Any]) -> None:
    sides = [side for side in SIDES if found.get(side)]
    labelled: set[str] = set()
    for row, side in enumerate(sides):
        left = 0.0
        for stage, values in found[side].items():
            reached = Spread.of(values)
            if reached is None or reached.middle <= left:
                continue
            label = "_" if stage in labelled else SPENT[stage]
            labelled.add(stage)
            axes.barh(row, reached.middle - left, left=left, color=COLOURS[stage], label=label, height=0.6)
            left = reached.middle
        axes.text(left, row, f"\N{NO-BREAK SPACE}{left:.1f} s", va="center", color=INK)
    axes.set_yticks(range(len(sides)), sides)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_title("A run that does nothing, seconds from enqueued to success", color=INK, loc="left", fontsize=10)
    if labelled:
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=2, frameon=False, labelcolor=INK, fontsize=9)


def _throughput(axes: Axes, found: Mapping[str, Any]) -> None:
    rates = {side: spread.middle for side in SIDES if (spread := Spread.of(found.get(side)))}
    axes.set_visible(bool(rates))
    bars = axes.bar(list(rates), list(rates.values()), color=COLOURS["run started"], width=0.6)
    axes.bar_label(bars, fmt="%.0f", color=INK)
    axes.set_title("Runs a minute,\n12 at once", color=INK, loc="left", fontsize=10)
