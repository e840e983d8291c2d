"""A new version of one location's code, and the way back, until the UI shows it."""

import time
from collections.abc import Callable
from typing import Any

from tests.performance.comparison import Both
from tests.performance.plain import Plain
from tests.performance.programs import say
from tests.performance.stack import COLD, Stack
from tests.support.graphql import GraphQL
from tests.support.waiting import wait_until

ROUNDS = 2
SHOWN = '{ assetNodeOrError(assetKey: {path: ["table"]}) { ... on AssetNode { description } } }'


def measure(both: Both) -> dict[str, Any]:
    """In turn. The first of each is not counted: it makes what later ones find."""
    deploys = {"plain": _Plain(both.plain), "stack": _Stack(both.stack)}
    found: dict[str, dict[str, list[float]]] = {side: {"deploy": [], "rollback": []} for side in deploys}
    for one in deploys.values():
        one.deploy("second")
    for number in range(1, ROUNDS + 1):
        for side, one in deploys.items():
            version = f"version {number}"
            found[side]["deploy"].append(_timed(one.client, version, lambda: one.deploy(version)))  # noqa: B023
            found[side]["rollback"].append(_timed(one.client, "second", one.back))
            last = {name: f"{values[-1]:.1f} s" for name, values in found[side].items()}
            say(f"  {number}/{ROUNDS}: {side} deploy {last['deploy']}, rollback {last['rollback']}")
    return found


def _timed(client: GraphQL, version: str, act: Callable[[], None]) -> float:
    begin = time.monotonic()
    act()
    wait_until(lambda: _shows(client, version), seconds=180, what=f"the UI to show {version!r}", every=0.25)
    return time.monotonic() - begin


def _shows(client: GraphQL, version: str) -> bool:
    node = client.ask(SHOWN)["assetNodeOrError"]
    return bool(node.get("description") == version)


def _versioned(text: str, version: str) -> str:
    lines = [f'VERSION = "{version}"' if line.startswith("VERSION = ") else line for line in text.splitlines()]
    return "\n".join(lines) + "\n"


class _Plain:
    """A deployment is another image and container; the way back is the same with the older file."""

    def __init__(self, plain: Plain) -> None:
        self.plain, self.client = plain, plain.client

    def deploy(self, version: str) -> None:
        path = self.plain.folder / "definitions.py"
        path.write_text(_versioned(path.read_text(), version))
        self.plain.compose("up", "--detach", "--build", "user_code")

    def back(self) -> None:
        self.deploy("second")


class _Stack:
    """./stack deploy, which tries the new image by the location's tests, and ./stack rollback."""

    def __init__(self, stack: Stack) -> None:
        self.stack, self.client = stack, stack.client

    def deploy(self, version: str) -> None:
        path = self.stack.root / f"code_locations/{COLD}/src/{COLD}/definitions.py"
        path.write_text(_versioned(path.read_text(), version))
        self.stack.commit(version)
        self.stack.deployment.stack("deploy", COLD)

    def back(self) -> None:
        self.stack.deployment.stack("rollback", COLD)
