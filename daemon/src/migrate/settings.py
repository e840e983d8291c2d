"""What the migration reads from its environment and its secret files; nothing else here does."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from migrate.errors import MigrationError

SECRETS = Path("/run/secrets")
WORKSPACE = Path("/opt/dagster/workspace.yaml")
ACCESS = Path("/opt/dagster/access.yaml")
DAGSTER_YAML = Path("/opt/dagster/home/dagster.yaml")
# The service in docker-compose.yml. Any other host may be somebody else's server too: only our own is touched there.
BUNDLED_HOST = "postgres"


@dataclass(frozen=True)
class Settings:
    """Where the server is and who may prepare it."""

    host: str
    port: int
    admin: str
    admin_password: str = field(repr=False)
    secrets: Path = SECRETS
    workspace: Path = WORKSPACE
    access: Path = ACCESS
    dagster_yaml: Path = DAGSTER_YAML

    @property
    def bundled(self) -> bool:
        """Whether the server belongs to this deployment alone."""
        return self.host == BUNDLED_HOST

    def password_of(self, role: str) -> str:
        """The password of a role, from its secret file. Raises `MigrationError` that names the file."""
        return read_secret(self.secrets / secret_name(role))


def secret_name(role: str) -> str:
    """The secret that holds a role's password; those of code locations say what they are for."""
    return f"{role}_password" if role in ("dagster", "dagster_owner") else f"{role}_database_password"


def read_secret(path: Path) -> str:
    """The content of a secret file without its final line break."""
    try:
        secret = path.read_text(encoding="utf-8").rstrip("\n")
    except OSError as error:
        raise MigrationError(
            f"The secret {path.name} cannot be read ({path}: {error.strerror}); "
            f"./stack up makes secrets/{path.name}, and the service migrate in docker-compose.yml must name it."
        ) from error
    if not secret:
        raise MigrationError(
            f"The secret {path.name} is empty ({path}); put a password in it or remove it for a new one."
        )
    return secret


def load(environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings of this process."""
    port = environment.get("POSTGRES_PORT") or "5432"
    if not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise MigrationError(f"POSTGRES_PORT is {port!r}; expected a number from 1 to 65535.")
    # The image's entrypoint turns …_FILE into the variable; without it the file is read here.
    password = environment.get("POSTGRES_ADMIN_PASSWORD") or read_secret(
        Path(environment.get("POSTGRES_ADMIN_PASSWORD_FILE") or SECRETS / "postgres_password")
    )
    return Settings(
        host=environment.get("POSTGRES_HOST") or BUNDLED_HOST,
        port=int(port),
        admin=environment.get("POSTGRES_ADMIN_USER") or "postgres",
        admin_password=password,
    )
