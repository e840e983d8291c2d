"""Where the sockets are: the engine's, and one for each caller. Plain Python: the health check loads nothing else."""

from pathlib import Path

ENGINE = Path("/var/run/docker.sock")
FOLDER = Path("/run/brokers")
CALLERS = ("daemon", "webserver")


def of_caller(folder: Path, caller: str) -> Path:
    """The one that a caller asks by."""
    return folder / caller / "docker.sock"
