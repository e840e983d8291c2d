"""What this location looks after: the deployment's own files, as Compose mounts them."""

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from provisioning.plan import Plan, make_plan

from access import load, load_locations
from platform_kit import environment

# Where Compose mounts workspace.yaml and access.yaml, secrets, and the logs of the locations that are maintained.
FILES, SECRETS, LOGS = "/opt/dagster", "/run/secrets", "/var/lib/location-logs"
OWN_LOGS = "/var/lib/dagster/logs"
OWNERS = ["team:platform"]


@dataclass(frozen=True)
class Deployment:
    """The plan of the database, and the locations whose lakes and logs are kept in order here."""

    plan: Plan
    name: str
    maintained: tuple[str, ...]

    @property
    def kept(self) -> tuple[str, ...]:
        """The locations whose lakes and logs are kept in order: those of access.yaml and this one."""
        return (*self.maintained, self.name)


@cache
def read(folder: Path) -> Deployment:
    """The deployment that workspace.yaml and access.yaml describe. Raises `AccessError` with file and line."""
    locations = load_locations(folder / "workspace.yaml")
    access = load(folder / "access.yaml", locations)
    machines = {name: access.machines[name] for name in locations}
    maintainers = [name for name, machine in machines.items() if machine.maintains]
    plan = make_plan({name: machine.reads for name, machine in machines.items()}, maintainers)
    own = environment.current("platform").code_location
    return Deployment(plan, own, tuple(machines[own].maintains) if own in machines else ())


def current() -> Deployment:
    """The deployment of this process. Where its files are not, as when definitions are only checked, there is nothing
    to look after."""
    folder = Path(environment.setting("DEPLOYMENT_FILES", FILES))
    if not (folder / "workspace.yaml").is_file():
        return Deployment(Plan((), ()), environment.current("platform").code_location, ())
    return read(folder)


def secret_of(location: str) -> environment.Secret:
    """The password of a maintained location's role."""
    return _secret(f"{location}_database_password", location)


def bucket_of(location: str) -> environment.Bucket | None:
    """The bucket with the lakes' tables, to be opened by that location's own key; None where they are in folders."""
    bucket = environment.lake_bucket()
    if bucket is None or location == environment.current("platform").code_location:
        return bucket
    key, key_secret = (_secret(f"{location}_{name}", location) for name in ("s3_key", "s3_key_secret"))
    return replace(bucket, key=key, key_secret=key_secret)


def _secret(name: str, location: str) -> environment.Secret:
    path = Path(environment.setting("SECRETS", SECRETS)) / name
    try:
        return environment.Secret(path.read_text(encoding="utf-8").rstrip("\n"))
    except OSError as error:
        raise environment.SettingError(
            f"the secret {path.name} cannot be read ({path}: {error.strerror}): the service that maintains {location} "
            "must name it under secrets in docker-compose.yml or the overlay that brings it"
        ) from None


def lake_of(location: str) -> Path:
    """The folder with a lake's files."""
    return environment.current("platform").lake_data_path(location)


def logs_of(location: str) -> Path:
    """The folder with a location's compute logs."""
    if location == environment.current("platform").code_location:
        return Path(environment.setting("OWN_LOGS", OWN_LOGS))
    return Path(environment.setting("LOCATION_LOGS", LOGS)) / location
