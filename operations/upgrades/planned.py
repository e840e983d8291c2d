"""The deployment as it will be: with the settings that the new release appends, in a file that is nobody's .env."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from operations import environment_file
from operations.context import Context
from operations.deployment import Deployment


@dataclass(frozen=True)
class Planned(Deployment):
    """A deployment whose settings are in another file."""

    file: Path = Path()

    @property
    def env_file(self) -> Path:
        """Its settings."""
        return self.file


@contextmanager
def of(context: Context) -> Iterator[Context]:
    """For looking, checking and building; nothing of the deployment is written."""
    real = context.deployment
    with tempfile.TemporaryDirectory(prefix="stack-") as folder:
        path = Path(folder) / ".env"
        path.touch(mode=0o600)
        path.write_text(real.env_file.read_text(encoding="utf-8"), encoding="utf-8")
        environment_file.append_new(path, real.example)
        planned = Planned(real.root, real.name, path)
        yield Context(planned, context.executor, context.report, context.host)
