"""Whether the engine has addresses for more networks: it has about 31 by itself, and a deployment takes a dozen."""

import json
from collections.abc import Iterator
from ipaddress import IPv4Network

from operations.branches import networks
from operations.context import Context
from operations.errors import Finding

# Docker's own, where /etc/docker/daemon.json says nothing: each base, and how large its pieces are.
DEFAULT = [*((f"172.{second}.0.0/16", 16) for second in range(17, 32)), ("192.168.0.0/16", 20)]
# What a location, an overlay and whatever else is on this machine may want before somebody looks again.
SPARE = 3
# Beyond that many nobody has to know how many there are.
ENOUGH = 100


def finding(context: Context, wanted: int = SPARE) -> Finding | None:
    """What is wrong where the engine has room for fewer networks than wanted; None where it has, or does not say."""
    pieces = [piece for base, size in _pools(context) for piece in _pieces(base, size)]
    if not pieces:
        return None
    taken = [*networks.engine(context), *context.host.routes()]
    free = sum(not any(piece.overlaps(each) for each in taken) for piece in pieces)
    if free >= wanted:
        return None
    return Finding(
        "networks",
        f"Docker has addresses for {free} more networks, of {len(pieces)}",
        f"{wanted} are wanted: without one, a location or a deployment does not start"
        " (all predefined address pools have been fully subnetted)",
        "remove deployments that nobody uses (docker network ls shows them), or give it more: default-address-pools in"
        ' /etc/docker/daemon.json, such as [{"base": "10.200.0.0/16", "size": 24}] (Docker has to be restarted)',
    )


def _pools(context: Context) -> list[tuple[str, int]]:
    told = context.executor.run(
        ["docker", "info", "--format", "{{json .DefaultAddressPools}}"], check=False, timeout=60
    )
    try:
        own = json.loads(told.stdout) if told.ok else []
        return [(str(pool["Base"]), int(pool["Size"])) for pool in own] if own is not None else DEFAULT
    except (ValueError, KeyError, TypeError):
        return []


def _pieces(base: str, size: int) -> Iterator[IPv4Network]:
    """The first pieces of a pool; none of an IPv6 pool."""
    if ":" in base:
        return
    for number, piece in enumerate(IPv4Network(base, strict=False).subnets(new_prefix=size)):
        if number == ENOUGH:
            return
        yield piece
