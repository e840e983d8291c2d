"""Where a restore reads from: the deployment's own repository, another deployment's, or a folder."""

from dataclasses import dataclass, field
from pathlib import Path

from operations.deployment import NAME, PROD, Deployment
from operations.errors import StackError

PASSPHRASE = "backup_passphrase"  # noqa: S105
# What this machine is known by in a repository; no backup has it.
OWNER = "backup_owner"
KEYS = (PASSPHRASE, "backup_s3_key", "backup_s3_key_secret", "backup_s3_authority")
S3 = ("BACKUP_S3_ENDPOINT", "BACKUP_S3_BUCKET", "BACKUP_S3_REGION")
INSIDE = ("files", "postgres")


@dataclass(frozen=True)
class Source:
    """A repository: whose backups, in which mount or bucket, opened by which secrets."""

    name: str
    mount: str
    secrets: Path
    s3: dict[str, str] = field(default_factory=dict)

    @property
    def is_volume(self) -> bool:
        """Whether the mount is one of Docker's volumes."""
        return not self.mount.startswith("/")

    @property
    def is_s3(self) -> bool:
        """Whether it is a bucket."""
        return bool(self.s3.get("BACKUP_S3_ENDPOINT"))


def resolve(deployment: Deployment, wanted: str) -> Source:
    """The repository that --from names. Raises `StackError` when it cannot be one."""
    if "/" in wanted:
        folder = _folder(_path(wanted))
        return _opened(Source(folder.name, str(folder.parent), _secrets(deployment)))
    if not wanted or wanted == deployment.name:
        return _opened(_of(deployment, deployment.name))
    if not NAME.fullmatch(wanted):
        raise StackError(
            f"--from {wanted!r} is neither a deployment's name nor a folder",
            "a name, or a path with a / in it",
            "correct it",
        )
    other = Deployment(deployment.root, wanted)
    return _opened(_of(other if other.env_file.exists() else deployment, wanted))


def _of(deployment: Deployment, name: str) -> Source:
    settings = deployment.settings()
    directory = settings.get("BACKUP_DIRECTORY", "")
    mount = str((deployment.root / directory).resolve()) if directory else f"{name}_backups"
    return Source(name, mount, _secrets(deployment), {key: settings.get(key, "") for key in S3})


def _secrets(deployment: Deployment) -> Path:
    """Its secrets; of a deployment beside prod that was not started yet, those that it will have, and not prod's."""
    if deployment.env_file.exists() or deployment.name == PROD:
        return deployment.secrets()
    return (deployment.home / "secrets").resolve()


def _path(wanted: str) -> Path:
    try:
        path = Path(wanted).expanduser().resolve()
        path.is_dir()
    except (OSError, ValueError, RuntimeError) as error:
        # Longer than a name may be; the home of nobody.
        raise StackError(f"--from {wanted!r} is no folder: {error}", "a folder with backups", "correct it") from error
    return path


def _folder(path: Path) -> Path:
    """The folder with the backups of one deployment: the path itself, or the only such folder in it."""
    if _holds_backups(path):
        return path
    inside = sorted(each for each in path.iterdir() if _holds_backups(each)) if path.is_dir() else []
    if len(inside) == 1:
        return inside[0]
    raise StackError(
        f"{path} holds " + (f"backups of {', '.join(each.name for each in inside)}" if inside else "no backups"),
        "the folder of one deployment's backups, with files/ and postgres/ in it",
        f"--from {inside[0]}" if inside else "name the right one with --from",
    )


def _holds_backups(path: Path) -> bool:
    return all((path / name).is_dir() for name in INSIDE)


def _opened(source: Source) -> Source:
    path = source.secrets / PASSPHRASE
    if not path.is_file() or not path.stat().st_size:
        raise StackError(
            f"{path} does not exist",
            "the passphrase of the backups, without which nobody can read them",
            f"put your copy of it there (install -D -m 644 /your/copy {path}; chmod 700 {path.parent}), then repeat",
        )
    return source
