"""BRANCH_* of production's .env."""

from dataclasses import dataclass
from ipaddress import IPv4Network, ip_address

from operations.errors import StackError

# Drawn anew in each deployment, always: with production's, a branch could sign in there.
OWN = ("postgres_password", "dagster_password", "dagster_owner_password", "gateway_token", "admin_password")
# Services that a branch has not: backups are production's, a branch is made anew.
ABSENT = ("backup",)
# Sixteen networks: a branch of up to about a dozen code locations.
LEAST_PREFIX = 23
# Set apart for measuring networks, so no company's network is there.
NETWORKS = IPv4Network("198.18.0.0/16")


@dataclass(frozen=True)
class Settings:
    """How branches of this deployment are to be."""

    memory_mib: int
    days: int
    secrets: tuple[str, ...]
    bind: str
    networks: IPv4Network = NETWORKS


def of(values: dict[str, str], locations: list[str]) -> Settings:
    """Read and check them; raises `StackError` for the first that cannot be."""
    names = tuple(name.strip() for name in values.get("BRANCH_SECRETS", "").split(",") if name.strip())
    forbidden = {*OWN, *(f"{location}_database_password" for location in locations)}
    for name in names:
        if name in forbidden:
            raise StackError(
                f"BRANCH_SECRETS names {name}",
                "secrets that a branch may share with production; it always has passwords of its own",
                "take it out of BRANCH_SECRETS in .env",
            )
    return Settings(
        memory_mib=_number(values, "BRANCH_MEMORY_MB", 6144, least=1),
        days=_number(values, "BRANCH_DAYS", 7, least=0),
        secrets=names,
        bind=_address(values),
        networks=_range(values),
    )


def _address(values: dict[str, str]) -> str:
    text = values.get("BRANCH_BIND") or "127.0.0.1"
    try:
        return str(ip_address(text))
    except ValueError as error:
        raise StackError(
            f"BRANCH_BIND is {text!r}", "an IP address of this machine, such as 127.0.0.1", "correct it in .env"
        ) from error


def _range(values: dict[str, str]) -> IPv4Network:
    text = values.get("BRANCH_NETWORKS") or str(NETWORKS)
    try:
        found = IPv4Network(text)
    except ValueError as error:
        raise _no_range(text) from error
    if found.is_global or found.prefixlen > LEAST_PREFIX:
        raise _no_range(text)
    return found


def _no_range(text: str) -> StackError:
    return StackError(
        f"BRANCH_NETWORKS is {text!r}",
        f"a range of private IPv4 addresses, at least a /{LEAST_PREFIX}, such as {NETWORKS}",
        "correct it in .env",
    )


def _number(values: dict[str, str], name: str, default: int, least: int) -> int:
    text = values.get(name) or str(default)
    if not (text.isascii() and text.isdigit() and len(text) < 10) or int(text) < least:
        raise StackError(f"{name} is {text!r}", f"a whole number from {least}", "correct it in .env")
    return int(text)
