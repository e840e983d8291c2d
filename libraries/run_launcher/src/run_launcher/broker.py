"""The run broker, as its callers see it: five calls that outlast a restart of the broker."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import docker
import docker.errors
import requests.exceptions
from dagster._core.errors import DagsterUserCodeUnreachableError

# The oldest supported engine speaks this version. Asking for it by name saves a GET /version before every call.
API_VERSION = "1.41"
# A stop answers only when the container has ended, which takes up to its grace period.
STOP_ANSWER_SECONDS = 300
_FIRST_PAUSE = 0.25
_LONGEST_PAUSE = 5.0
# What a proxy in front of a restarting engine answers. A 500 is the engine's own refusal: repeating it changes nothing.
_PASSING = frozenset({502, 503, 504})
_NEVER_STARTED = "0001-01-01T00:00:00Z"

T = TypeVar("T")


class BrokerUnavailableError(DagsterUserCodeUnreachableError):
    """The broker did not answer in time.

    Dagster's queue puts a run back when it sees this type (`max_user_code_failure_retries` in dagster.yaml) and fails
    it on any other: an outage that outlasts the wait delays runs, it does not fail them.
    """


class BrokerRefusalError(Exception):
    """The broker answered no; its explanation is the message."""

    def __init__(self, status: int, explanation: str) -> None:
        super().__init__(explanation)
        self.status = status
        self.explanation = explanation


@dataclass(frozen=True)
class RunContainer:
    """A row of the broker's list: a container of this deployment's runs."""

    id: str
    run_id: str
    location: str
    live: bool


def was_started(attributes: Mapping[str, Any]) -> bool:
    """Whether a container, by its inspect answer, has ever run."""
    return bool(attributes["State"].get("StartedAt", _NEVER_STARTED) != _NEVER_STARTED)


def is_live(attributes: Mapping[str, Any]) -> bool:
    """Whether a container, by its inspect answer, has processes. A paused one has."""
    return bool(attributes["State"].get("Running"))


class Broker:
    """Calls the broker at DOCKER_HOST. Refused connections and passing server errors are tried again for a while."""

    def __init__(
        self,
        wait_seconds: float = 60,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._wait_seconds = wait_seconds
        self._clock = clock
        self._pause = pause

    def create(self, image: str, command: Sequence[str], labels: Mapping[str, str]) -> str:
        """Create a run's container and return its id; the one that exists already when it never started."""

        def call(client: docker.APIClient, _: bool) -> str:
            return str(client.create_container(image, list(command), labels=dict(labels), detach=True)["Id"])

        return self._persist("create a container", call)

    def start(self, container: str) -> None:
        """Start a container once, also when the first answer was lost: started again, an ended run would repeat."""

        def call(client: docker.APIClient, again: bool) -> None:
            if not (again and was_started(client.inspect_container(container))):
                client.start(container)

        self._persist("start a container", call)

    def inspect(self, container: str, wait_seconds: float | None = None) -> Mapping[str, Any] | None:
        """The engine's record of a container, or None when there is none."""

        def call(client: docker.APIClient, _: bool) -> Mapping[str, Any] | None:
            try:
                return dict(client.inspect_container(container))
            except docker.errors.NotFound:
                return None

        return self._persist("inspect a container", call, wait_seconds)

    def stop(self, container: str, grace_seconds: int | None = None) -> bool:
        """Ask a container to end, kill it after its own grace period or this one; False when there is none."""

        def call(client: docker.APIClient, _: bool) -> bool:
            try:
                client.stop(container, grace_seconds)
            except docker.errors.NotFound:
                return False
            return True

        return self._persist("stop a container", call, timeout=STOP_ANSWER_SECONDS)

    def output(self, container: str, lines: int) -> str:
        """The last lines that a container wrote, standard output and error together."""

        def call(client: docker.APIClient, _: bool) -> str:
            text: bytes = client.logs(container, stdout=True, stderr=True, tail=lines)
            return text.decode("utf-8", "replace")

        return self._persist("read a container's output", call)

    def runs(self) -> list[RunContainer]:
        """This deployment's run containers; of those that have ended, the ones the broker still lists."""

        def call(client: docker.APIClient, _: bool) -> list[RunContainer]:
            return [_row(row) for row in client.containers(all=True)]

        return self._persist("list the runs' containers", call)

    def _persist(
        self,
        purpose: str,
        call: Callable[[docker.APIClient, bool], T],
        wait_seconds: float | None = None,
        timeout: int = 60,
    ) -> T:
        """Make a call, again after a broken connection. `call` learns whether an earlier try may have had effect."""
        wait = self._wait_seconds if wait_seconds is None else wait_seconds
        deadline: float | None = None
        seconds = _FIRST_PAUSE
        while True:
            try:
                return self._once(call, deadline is not None, timeout)
            except BrokerUnavailableError as error:
                # The wait begins with the first failure: a stop may take minutes before its connection breaks.
                deadline = deadline or self._clock() + wait
                left = deadline - self._clock()
                if left <= 0:
                    raise BrokerUnavailableError(
                        f"The run broker could not {purpose} for {wait:g} s: {error}"
                    ) from error
                self._pause(min(seconds, left))
                seconds = min(seconds * 2, _LONGEST_PAUSE)

    def _once(self, call: Callable[[docker.APIClient, bool], T], again: bool, timeout: int) -> T:
        client: docker.APIClient | None = None
        try:
            # A client a call: its connection pool is not made for threads, and one to a gone socket would be kept.
            client = docker.from_env(version=API_VERSION, timeout=timeout).api
            return call(client, again)
        except docker.errors.APIError as error:
            if error.status_code in _PASSING:
                raise BrokerUnavailableError(str(error.explanation or error)) from error
            raise BrokerRefusalError(error.status_code or 0, str(error.explanation or error)) from error
        except (requests.exceptions.ConnectionError, requests.exceptions.Timeout) as error:
            raise BrokerUnavailableError(
                f"it does not answer ({_reason(error)}). Look at the service run_broker: is it running?"
            ) from error
        except requests.exceptions.ChunkedEncodingError as error:
            raise BrokerUnavailableError("its connection broke in the middle of an answer.") from error
        finally:
            if client is not None:
                client.close()


def _row(row: Mapping[str, Any]) -> RunContainer:
    labels = row.get("Labels") or {}
    return RunContainer(
        id=row["Id"],
        run_id=labels.get("dagster/run_id", ""),
        location=labels.get("code-location", ""),
        live=row.get("State") in ("running", "paused", "restarting"),
    )


def _reason(error: BaseException) -> str:
    """The operating system's word in a chain of wrapped exceptions, such as "Connection refused"."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__context__
    return type(error).__name__
