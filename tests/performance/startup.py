"""From images that are built to loaded code locations."""

import time
from typing import Any

from tests.performance.comparison import Both
from tests.performance.programs import say


def measure(both: Both) -> dict[str, Any]:
    """Both as on a machine that has nothing but the images. One after the other: each has the machine to itself."""
    found = {}
    for title, side in (("plain", both.plain), ("stack", both.stack)):
        say(f"  building the images of {title}")
        side.build()
        begin = time.monotonic()
        side.up()
        found[title] = [time.monotonic() - begin]
        say(f"  {title} is up after {found[title][0]:.1f} s")
    return found
