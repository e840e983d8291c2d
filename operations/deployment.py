"""Which deployment a verb is about, and where its files are."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from operations import environment_file
from operations.errors import StackError

PROD = "prod"
# Compose's own rule for project names; 40 leave room for the names of services, runs and volumes that follow.
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")


@dataclass(frozen=True)
class Deployment:
    """One Compose project of this checkout."""

    root: Path
    name: str = PROD

    def __post_init__(self) -> None:
        """Refuse a name before Compose does, and before it becomes a path."""
        if not NAME.fullmatch(self.name):
            raise StackError(
                f"{self.name!r} is no name for a deployment",
                "1 to 40 of a-z, 0-9, _ and -, beginning with a letter or digit (Compose's rule for project names)",
                "choose another --deployment",
            )

    @property
    def home(self) -> Path:
        """Where its .env and secrets are."""
        return self.root if self.name == PROD else self.root / ".deployments" / self.name

    @property
    def env_file(self) -> Path:
        """Its settings."""
        return self.home / ".env"

    @property
    def example(self) -> Path:
        """The documented settings that .env is made from."""
        return self.root / ".env.example"

    @property
    def env_in_force(self) -> Path:
        """Its settings, or, before it was first started, the documented ones."""
        return self.env_file if self.env_file.exists() else self.example

    @property
    def state(self) -> Path:
        """What ./stack itself remembers: locks and logs."""
        return self.root / ".stack" / self.name

    @property
    def stack(self) -> str:
        """The command as somebody would type it for this deployment."""
        return "./stack" if self.name == PROD else f"./stack --deployment {self.name}"

    def settings(self) -> dict[str, str]:
        """What Compose interpolates: .env, and what the caller's environment sets instead."""
        values = environment_file.read(self.env_in_force, self.example)
        return {key: os.environ.get(key, value) for key, value in values.items()}

    def secrets(self) -> Path:
        """Its secrets directory."""
        return (self.root / self.settings().get("SECRETS_DIR", "./secrets")).resolve()

    def require_env(self) -> None:
        """Verbs other than `up` need a deployment that exists."""
        if not self.env_file.exists():
            raise StackError(
                f"there is no deployment {self.name!r}: {self.env_file} does not exist",
                "a deployment that was started once",
                f"start it with {self.stack} up",
            )

    def shown(self, path: Path) -> str:
        """A path as it is shorter to read: relative to the checkout."""
        return str(path.relative_to(self.root)) if path.is_relative_to(self.root) else str(path)
