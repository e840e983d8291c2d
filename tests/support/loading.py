"""Data that many tests want: loaded from the first moment on, while the tests that come first look at other things."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import httpx

from tests.support.deployment import Deployment
from tests.support.flights import PARTITIONED, REFERENCE, YEAR
from tests.support.graphql import GraphQL

# In the order in which they build on each other.
STEPS = ("reference", "year", "marts")
# As long as a webserver is away that a test replaces.
PATIENCE_SECONDS = 120


class Patient(GraphQL):
    """Asks again while the webserver is being replaced; launches once."""

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return super().ask(query, **variables)
            except (httpx.TransportError, AssertionError):
                if query.lstrip().startswith("mutation") or time.monotonic() > end:
                    raise
            time.sleep(1)


class Loading:
    """What is wanted of the steps, one after the other, beside the tests."""

    def __init__(self, deployment: Deployment, wanted: set[str]) -> None:
        self._client = Patient(deployment.address, "admin", deployment.secret("admin_password"))
        self._pool = ThreadPoolExecutor(1)
        last = max((STEPS.index(name) for name in wanted), default=-1)
        self._futures: dict[str, Future[Any]] = {
            name: self._pool.submit(self._load, name) for name in STEPS[: last + 1]
        }

    def wait_for(self, name: str) -> Any:
        """The runs of a step; raises what it raised. From then on nothing is loaded beside: all else has ended, too."""
        wait(self._futures.values())
        return self._futures[name].result()

    def end(self) -> None:
        """Without its connection, what still waits ends by itself."""
        for future in self._futures.values():
            future.cancel()
        self._client.http.close()
        self._pool.shutdown()

    def _load(self, name: str) -> Any:
        # Each builds on the one before.
        for former in STEPS[: STEPS.index(name)]:
            self._futures[former].result()
        steps: dict[str, Callable[[], Any]] = {"reference": self._reference, "year": self._year, "marts": self._marts}
        return steps[name]()

    def _reference(self) -> str:
        run = self._client.launch("ingestion", assets=REFERENCE)
        self._client.wait_for(run, "SUCCESS", seconds=240)
        return run

    def _year(self) -> list[str]:
        return self._client.backfill_to_the_end(PARTITIONED, YEAR, seconds=420)

    def _marts(self) -> str:
        query = "{ assetNodes { assetKey { path } isMaterializable } }"
        nodes = self._client.ask(query)["assetNodes"]
        keys = ["/".join(node["assetKey"]["path"]) for node in nodes if node["isMaterializable"]]
        run = self._client.launch("analytics", assets=[key for key in keys if key.startswith("analytics/")])
        self._client.wait_for(run, "SUCCESS", seconds=300)
        return run
