"""The last numbers in docs/performance.md, with their plot, and in the terminal."""

from operations.benchmark import tables
from operations.benchmark.goals import goals
from tests.performance import plot
from tests.performance.programs import say
from tests.performance.results import Results
from tests.support.deployment import ROOT

PAGE = ROOT / "docs" / "performance.md"
IMAGE = ROOT / "docs" / "images" / "performance.svg"
SHOWN = "![Where the time of a run goes, and runs a minute: plain, cold, warm](images/performance.svg)"


def write(results: Results) -> None:
    """Tables and plot of everything that is known."""
    made = tables.document(results.measures, results.when, results.machine)
    PAGE.write_text(tables.put(PAGE.read_text(), f"{SHOWN}\n\n{made}"))
    plot.draw(results.measures, IMAGE)
    say()
    say(made)
    say()
    verdicts = [goal.said for goal in goals(results.measures)]
    counted = ", ".join(f"{verdicts.count(one)} {one}" for one in ("met", "not met", "not measured"))
    say(f"Goals: {counted}. Wrote {PAGE.relative_to(ROOT)} and {IMAGE.relative_to(ROOT)}.")
