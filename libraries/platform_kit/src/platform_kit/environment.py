"""Where this code runs, and everything that follows from it.

The one module of a code location that reads the process environment: a setting that is read elsewhere is a setting
nobody finds, so a test forbids it. Standard library only, so that importing it costs nothing.
"""

import getpass
import os
import re
from dataclasses import dataclass
from datetime import date, timedelta
from enum import Enum
from pathlib import Path
from typing import NoReturn

_BRANCH = re.compile(r"branch-[a-z0-9][a-z0-9-]{0,40}")
_LOCATION = re.compile(r"[a-z][a-z0-9_]{0,30}")
_LAKE_ROOT = Path("/var/lib/lake")
_SYSTEM_AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
_WINDOW_OUTSIDE_PRODUCTION = timedelta(days=90)
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PREFIX = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")


class SettingError(Exception):
    """A setting is missing or not legal; the message names it, what was found and what is expected."""


class Kind(Enum):
    """The three places code runs in."""

    LOCAL = "local"
    BRANCH = "branch"
    PROD = "prod"


class Secret:
    """A value that must not be printed: only `reveal()` gives it, every other rendering is asterisks."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The value itself, for the one call that needs it."""
        return self._value

    def __repr__(self) -> str:
        return "Secret('***')"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not pickled: the copy would carry the value")


@dataclass(frozen=True)
class PostgresCatalog:
    """A lake catalog in a Postgres database."""

    host: str
    port: int
    database: str
    user: str
    password: Secret


@dataclass(frozen=True)
class FileCatalog:
    """A lake catalog in a DuckDB file, for work without Docker."""

    path: Path


@dataclass(frozen=True)
class Bucket:
    """A bucket of S3 with the lakes' tables, below one prefix a location."""

    name: str
    prefix: str
    endpoint: str
    """Host or host:port, spoken to over TLS."""
    region: str
    authority: Path
    """The authorities that its certificate is checked by, in PEM."""
    key: Secret
    key_secret: Secret

    @property
    def address(self) -> str:
        """What all lakes are below, with a slash at its end."""
        return f"s3://{self.name}/{self.prefix}/"


@dataclass(frozen=True)
class Environment:
    """One place that code runs in. Made by `current()`."""

    kind: Kind
    name: str
    """`prod`, `branch-<id>` or `local`."""
    code_location: str

    @property
    def is_production(self) -> bool:
        """True in PROD only; a branch and a laptop are not."""
        return self.kind is Kind.PROD

    @property
    def is_embedded(self) -> bool:
        """True where there is no Postgres: LOCAL without POSTGRES_HOST. Catalogs are then files."""
        return self.kind is Kind.LOCAL and not setting("POSTGRES_HOST", "")

    @property
    def dbt_target(self) -> str:
        """The dbt target of the same name: local, branch or prod."""
        return self.kind.value

    @property
    def catalog_database(self) -> str:
        """The Postgres database that holds this location's lake catalog."""
        return catalog_database(self.code_location)

    @property
    def developer(self) -> str | None:
        """Whose local run this is (DEVELOPER, else the login name); None outside LOCAL."""
        if self.kind is not Kind.LOCAL:
            return None
        name = os.environ.get("DEVELOPER") or _login_name()
        return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") or "developer"

    def schema(self, name: str) -> str:
        """The schema to use for `name`: each developer's local runs have schemas of their own, as in `ada_raw`."""
        return f"{self.developer}_{name}" if self.developer else name

    @property
    def data_window(self) -> timedelta | None:
        """How much history to work on: None is all of it (PROD); 90 days anywhere else keeps copies small."""
        return None if self.is_production else _WINDOW_OUTSIDE_PRODUCTION

    def first_day(self, start: date, end: date) -> date:
        """The first day to load of data from `start` up to, not including, `end`, by the data window."""
        return start if self.data_window is None else max(start, end - self.data_window)

    def lake_data_path(self, location: str | None = None) -> Path:
        """The folder of a location's lake (this one's unless another is named): its files that are no tables, such as
        pages and models, and, unless they are on S3, those of its tables."""
        return self._lake_root() / _checked_location(location or self.code_location)

    def lake_address(self, location: str | None = None) -> str:
        """Where the Parquet files of a lake's tables are: its folder, or its prefix on S3 with a slash at its end."""
        bucket = lake_bucket()
        if bucket is None:
            return str(self.lake_data_path(location))
        return f"{bucket.address}{_checked_location(location or self.code_location)}/"

    def lake_catalog(self, location: str | None = None) -> PostgresCatalog | FileCatalog:
        """Where the catalog of a location's lake is; always with this location's own role."""
        name = _checked_location(location or self.code_location)
        if self.is_embedded:
            return FileCatalog(self._lake_root() / f"{name}.ducklake")
        return PostgresCatalog(
            host=setting("POSTGRES_HOST"),
            port=port_setting("POSTGRES_PORT", 5432),
            database=catalog_database(name),
            user=setting("POSTGRES_USER"),
            password=secret("POSTGRES_PASSWORD"),
        )

    def _lake_root(self) -> Path:
        fallback = Path.home() / ".local/share/lake" if self.kind is Kind.LOCAL else _LAKE_ROOT
        return Path(setting("LAKE_ROOT", str(fallback))).absolute()


def current(code_location: str | None = None) -> Environment:
    """The environment of this process.

    `code_location` is for work outside a container, where the image does not set CODE_LOCATION; a definition passes its
    own package name. Two different names are an error: the tables of one location would land in another's lake.
    """
    kind, name = _deployment(os.environ.get("DEPLOYMENT", ""))
    declared = os.environ.get("CODE_LOCATION", "")
    if declared and code_location and declared != code_location:
        raise SettingError(f"CODE_LOCATION is {declared!r}, but the code that runs says it is {code_location!r}")
    location = declared or code_location
    if not location:
        raise SettingError("CODE_LOCATION is not set: expected the name of the code location, as the images set it")
    return Environment(kind, name, _checked_location(location))


def setting(name: str, default: str | None = None) -> str:
    """The setting `name`; without a default it must be there and not be empty."""
    value = os.environ.get(name, "")
    if value:
        return value
    if default is None:
        raise SettingError(f"{name} is not set: expected it in the environment of this process")
    return default


def port_setting(name: str, default: int) -> int:
    """The setting `name` as a TCP port."""
    value = setting(name, str(default))
    if not value.isdecimal() or not 0 < int(value) < 65536:
        raise SettingError(f"{name} is {value!r}: expected a port number from 1 to 65535")
    return int(value)


def secret(name: str) -> Secret:
    """The secret `name`: from the environment, where an entry point puts it, else from the file `<name>_FILE`."""
    value = os.environ.get(name, "")
    file = os.environ.get(f"{name}_FILE", "")
    if not value and file:
        try:
            value = Path(file).read_text(encoding="utf-8").rstrip("\n")
        except OSError as error:
            raise SettingError(f"{name}_FILE names {file}, which cannot be read: {error.strerror}") from None
    if not value:
        raise SettingError(f"{name} is not set: expected a secret in {name}, or a file with it named by {name}_FILE")
    return Secret(value)


def lake_bucket() -> Bucket | None:
    """The bucket with the lakes' tables; None where they are in folders.

    LAKE_S3_BUCKET decides; with it the other settings must be there too.
    """
    name = setting("LAKE_S3_BUCKET", "")
    if not name:
        return None
    prefix = setting("LAKE_S3_PREFIX")
    if not _BUCKET.fullmatch(name):
        raise SettingError(f"LAKE_S3_BUCKET is {name!r}: expected the name of a bucket, 3 to 63 of {_BUCKET.pattern}")
    if not _PREFIX.fullmatch(prefix):
        raise SettingError(
            f"LAKE_S3_PREFIX is {prefix!r}: expected names with a slash between, such as prod or data/prod"
        )
    endpoint = setting("LAKE_S3_ENDPOINT")
    if "/" in endpoint:
        raise SettingError(
            f"LAKE_S3_ENDPOINT is {endpoint!r}: expected host or host:port; it is always spoken to by TLS"
        )
    own = Path(setting("LAKE_S3_AUTHORITY", str(_SYSTEM_AUTHORITIES)))
    # The secret is there, and empty, where the server's certificate is by an authority that everybody knows.
    authority = own if own.is_file() and own.stat().st_size else _SYSTEM_AUTHORITIES
    return Bucket(
        *(name, prefix, endpoint, setting("LAKE_S3_REGION"), authority),
        key=secret("LAKE_S3_KEY"),
        key_secret=secret("LAKE_S3_KEY_SECRET"),
    )


def catalog_database(location: str) -> str:
    """The Postgres database that holds a location's lake catalog."""
    return f"lake_{_checked_location(location)}"


def _deployment(value: str) -> tuple[Kind, str]:
    if not value:
        return Kind.LOCAL, "local"
    if value == "prod":
        return Kind.PROD, value
    if _BRANCH.fullmatch(value):
        return Kind.BRANCH, value
    raise SettingError(
        f"DEPLOYMENT is {value!r}: expected prod, branch-<id> (lower-case letters, digits and hyphens), "
        "or nothing for work on your own machine"
    )


def _checked_location(name: str) -> str:
    if not _LOCATION.fullmatch(name):
        raise SettingError(f"{name!r} is not the name of a code location: expected {_LOCATION.pattern}")
    return name


def _login_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without an entry in /etc/passwd, as in containers
        return f"user{os.getuid()}"
