"""Promise: a run is at its first step much sooner than in Dagster's own example. ./stack bench has the numbers."""

from pathlib import Path

import pytest

from operations.benchmark.numbers import FIRST_STEP, Spread, times
from tests.performance import ladder, startup
from tests.performance.comparison import both

ROUNDS = 3
# Less than the goals that ./stack bench prints: three rounds beside whatever else the machine does are no measurement.
COLD_AT_LEAST, WARM_AT_LEAST = 2, 4


@pytest.mark.timeout(2400, func_only=True)
def test_the_first_step_comes_sooner_than_in_the_plain_deployment(tmp_path: Path) -> None:
    with both(tmp_path, ROUNDS, keep=False) as deployments:
        startup.measure(deployments)
        found = ladder.measure(deployments)
    first = {side: Spread.of((found[side] or {}).get(FIRST_STEP)) for side in ("plain", "cold", "warm")}
    cold, warm = (times(first["plain"], first[side]) for side in ("cold", "warm"))
    assert cold is not None
    assert cold >= COLD_AT_LEAST, first
    assert warm is not None
    assert warm >= WARM_AT_LEAST, first
