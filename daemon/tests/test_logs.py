"""A line is shown once, whoever logged before."""

import subprocess
import sys

PROGRAM = """
import logging
from daemon.logs import show_once
show_once()
own = logging.getLogger("dagster.daemon")
own.addHandler(logging.StreamHandler())
logging.warning("the database is away")
logging.getLogger("dagster.daemon.sensors").error("a tick failed")
logging.getLogger("urllib3").warning("a retry")
"""


def test_each_line_is_shown_once() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines() == ["the database is away", "a tick failed", "a retry"]
