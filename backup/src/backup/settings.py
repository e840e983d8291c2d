"""What the service reads from its environment, and where things lie in its container; nothing else here does."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from backup import health
from backup.errors import BackupError


@dataclass(frozen=True)
class Places:
    """Where Compose mounts what is backed up and restored."""

    secrets: Path = Path("/run/secrets")
    repository: Path = Path("/var/lib/backups")
    lakes: Path = Path("/var/lib/lake")
    audit: Path = Path("/var/lib/dagster/audit")
    postgres: Path = Path("/var/lib/postgresql/17")
    sockets: Path = Path("/var/run/postgresql")
    work: Path = health.WORK

    @property
    def passphrase(self) -> Path:
        """The key to the repository."""
        return self.secrets / "backup_passphrase"

    @property
    def record(self) -> Path:
        """Settings and secrets of the deployment, as ./stack wrote them."""
        return self.secrets / "deployment_record"

    @property
    def owner(self) -> Path:
        """What this machine is known by."""
        return self.secrets / "backup_owner"

    @property
    def upgrading(self) -> bool:
        """Whether an upgrade has begun and may still be undone: what is written now may never have been."""
        return (self.postgres / "upgrade-under-way").exists()

    @property
    def data(self) -> Path:
        """The cluster of the database."""
        return self.postgres / "data"


@dataclass(frozen=True)
class S3:
    """A bucket."""

    endpoint: str
    bucket: str
    region: str


@dataclass(frozen=True)
class Settings:
    """Whose backups these are and where they go."""

    name: str
    s3: S3 | None = None
    on: bool = True
    places: Places = Places()

    @property
    def shown(self) -> str:
        """The repository, for people."""
        return f"s3://{self.s3.bucket}/{self.name}" if self.s3 else str(self.places.repository / self.name)


def load(environment: Mapping[str, str] = os.environ, places: Places = Places()) -> Settings:
    """The settings of this process."""
    name = environment.get("BACKUP_NAME", "")
    if not name or "/" in name:
        raise BackupError(f"BACKUP_NAME is {name!r}", "the deployment's name", "start it by docker-compose.yml")
    endpoint, bucket = environment.get("BACKUP_S3_ENDPOINT", ""), environment.get("BACKUP_S3_BUCKET", "")
    if bool(endpoint) != bool(bucket):
        raise BackupError(
            f"BACKUP_S3_ENDPOINT is {endpoint!r} and BACKUP_S3_BUCKET is {bucket!r}",
            "both, or neither of them",
            "correct them in .env",
        )
    if "://" in endpoint:
        raise BackupError(
            f"BACKUP_S3_ENDPOINT is {endpoint!r}",
            "host or host:port without a scheme; TLS is always used",
            "correct it in .env",
        )
    s3 = S3(endpoint, bucket, environment.get("BACKUP_S3_REGION") or "us-east-1") if endpoint else None
    on = environment.get("BACKUPS", "on") == "on" and environment.get("DEPLOYMENT", "prod") == "prod"
    return Settings(name, s3, on, places)
