"""Addresses for a branch's networks.

Docker's own pools hold about 31 networks, and a deployment has a dozen: the third branch would find none left. So a
branch's are small pieces of a range that is theirs.
"""

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network

from operations.context import Context
from operations.errors import StackError

SETTING = "BRANCH_NETWORKS"
# 29 containers: the services that are on a location's network, and its runs.
PREFIX = 27
SUBNETS = "{{range .IPAM.Config}}{{println .Subnet}}{{end}}"


def free(context: Context, names: Iterable[str], within: IPv4Network) -> dict[str, str]:
    """A subnet for each network, which nothing on this machine has; raises `StackError` where the range is used up."""
    wanted = sorted(names)
    pieces = _unused(within, [*engine(context), *context.host.routes()])
    found = dict(zip(wanted, map(str, pieces), strict=False))
    if len(found) < len(wanted):
        raise StackError(
            f"{within} has room for {len(found)} more networks, and the branch has {len(wanted)}",
            f"a range in {SETTING} that neither other networks of Docker nor routes of this machine use",
            f"delete a branch (./stack branch list), or set {SETTING} in .env to a larger range of private addresses",
        )
    return found


def _unused(within: IPv4Network, taken: list[IPv4Network]) -> Iterator[IPv4Network]:
    near = [each for each in taken if each.overlaps(within)]
    return (piece for piece in within.subnets(new_prefix=PREFIX) if not any(piece.overlaps(each) for each in near))


def engine(context: Context) -> list[IPv4Network]:
    """The subnets of all networks of the engine."""
    ids = context.executor.run(["docker", "network", "ls", "--quiet", "--filter", "driver=bridge"]).stdout.split()
    if not ids:
        return []
    # One that goes meanwhile has no subnet any more; the others are printed all the same.
    printed = context.executor.run(["docker", "network", "inspect", "--format", SUBNETS, *ids], check=False).stdout
    return [IPv4Network(text, strict=False) for text in printed.split() if ":" not in text]
