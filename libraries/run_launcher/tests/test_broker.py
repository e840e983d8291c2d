"""Calls to the broker: what they send, and how they outlast its restart."""

import threading

import pytest

from run_launcher.broker import Broker, BrokerRefusalError, BrokerUnavailableError, RunContainer

CONTAINER = "c" * 64

# docker-py leaves the socket of a refused connection to the garbage collector, which is what most of these tests cause.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning"
)


class Clock:
    """Time that passes only when somebody pauses."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def __call__(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def broker(fake_broker, clock):
    return Broker(60, clock, clock.pause)


def test_create_asks_for_image_command_and_labels_alone(broker, fake_broker):
    fake_broker.answers["POST /containers/create"] = [(201, {"Id": CONTAINER})]
    assert broker.create("prod/ingestion:1", ["dagster", "api"], {"code-location": "ingestion"}) == CONTAINER
    ((_, _, body),) = fake_broker.requests
    asked = {key: value for key, value in body.items() if value not in (None, False, "", [], {})}
    asked.pop("HostConfig", None)
    assert asked.pop("AttachStdout", False) in (True, False)
    assert asked.pop("AttachStderr", False) in (True, False)
    assert asked == {
        "Image": "prod/ingestion:1",
        "Cmd": ["dagster", "api"],
        "Labels": {"code-location": "ingestion"},
    }


def test_no_call_asks_for_the_engines_version_first(broker, fake_broker, engine):
    fake_broker.answers[f"GET /containers/{CONTAINER}/json"] = [(200, engine.container(**engine.RUNNING))]
    broker.inspect(CONTAINER)
    assert fake_broker.paths() == [f"GET /containers/{CONTAINER}/json"]


def test_a_missing_socket_is_waited_for(fake_broker, clock):
    fake_broker.stop()
    fake_broker.answers["POST /containers/create"] = [(201, {"Id": CONTAINER})]

    def pause(seconds):
        clock.pause(seconds)
        if len(clock.pauses) == 3:
            fake_broker.start()

    assert Broker(60, clock, pause).create("image", [], {}) == CONTAINER
    assert clock.pauses == [0.25, 0.5, 1.0]


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_passing_error_of_a_restarting_broker_is_tried_again(broker, fake_broker, clock, status):
    fake_broker.answers["POST /containers/create"] = [(status, {"message": "engine away"}), (201, {"Id": CONTAINER})]
    assert broker.create("image", [], {}) == CONTAINER
    assert clock.pauses == [0.25]


def test_the_wait_is_bounded_and_its_end_names_the_broker(fake_broker, broker, clock):
    fake_broker.stop()
    with pytest.raises(
        BrokerUnavailableError, match=r"could not create a container for 60 s: .*service run_broker"
    ) as e:
        broker.create("image", [], {})
    assert "No such file" in str(e.value)
    assert sum(clock.pauses) == 60
    assert max(clock.pauses) == 5
    fake_broker.start()


def test_a_missing_code_server_is_told_in_the_brokers_words(fake_broker, broker):
    message = "there is no running container of the service ingestion to copy"
    fake_broker.answers["POST /containers/create"] = [(503, {"message": message})]
    with pytest.raises(BrokerUnavailableError, match=f"could not create a container for 60 s: {message}$"):
        broker.create("image", [], {})


def test_the_queue_keeps_runs_whose_broker_is_away():
    # The daemon puts a run back in the queue for this type alone; any other fails the run.
    from dagster._core.errors import DagsterUserCodeUnreachableError

    assert issubclass(BrokerUnavailableError, DagsterUserCodeUnreachableError)
    assert not issubclass(BrokerRefusalError, DagsterUserCodeUnreachableError)


@pytest.mark.parametrize("status", [400, 403, 409, 500])
def test_a_refusal_is_told_at_once_in_the_brokers_words(broker, fake_broker, clock, status):
    fake_broker.answers["POST /containers/create"] = [(status, {"message": "run.memory 8g is above the cap 2g"})]
    with pytest.raises(BrokerRefusalError, match=r"^run\.memory 8g is above the cap 2g$") as caught:
        broker.create("image", [], {})
    assert caught.value.status == status
    assert clock.pauses == []


def test_an_absent_image_is_never_pulled(broker, fake_broker):
    fake_broker.answers["POST /containers/create"] = [(404, {"message": "No such image"})]
    with pytest.raises(BrokerRefusalError):
        broker.create("image", [], {})
    assert fake_broker.paths() == ["POST /containers/create"]


def test_a_lost_answer_to_create_is_asked_for_again(broker, fake_broker):
    fake_broker.answers["POST /containers/create"] = [(0, None), (201, {"Id": CONTAINER})]
    assert broker.create("image", [], {}) == CONTAINER


def test_a_container_whose_start_was_not_answered_is_not_started_twice(broker, fake_broker, engine):
    fake_broker.answers[f"POST /containers/{CONTAINER}/start"] = [(0, None)]
    fake_broker.answers[f"GET /containers/{CONTAINER}/json"] = [(200, engine.container(**engine.ENDED))]
    broker.start(CONTAINER)
    assert fake_broker.paths() == [f"POST /containers/{CONTAINER}/start", f"GET /containers/{CONTAINER}/json"]


def test_a_container_whose_start_never_arrived_is_started(broker, fake_broker, engine):
    fake_broker.answers[f"POST /containers/{CONTAINER}/start"] = [(0, None), (204, b"")]
    fake_broker.answers[f"GET /containers/{CONTAINER}/json"] = [(200, engine.container())]
    broker.start(CONTAINER)
    assert fake_broker.paths()[-1] == f"POST /containers/{CONTAINER}/start"


def test_inspect_and_stop_tell_a_missing_container_from_a_missing_broker(broker, fake_broker):
    assert broker.inspect(CONTAINER) is None
    assert broker.stop(CONTAINER) is False
    fake_broker.stop()
    with pytest.raises(BrokerUnavailableError):
        broker.inspect(CONTAINER, wait_seconds=0)
    fake_broker.start()


def test_stop_leaves_the_grace_period_to_the_container(broker, fake_broker):
    fake_broker.answers[f"POST /containers/{CONTAINER}/stop"] = [(204, b"")]
    assert broker.stop(CONTAINER) is True
    assert fake_broker.requests[0][1].endswith("/stop")


def test_stop_may_give_less_time_than_the_container_has(broker, fake_broker):
    fake_broker.answers[f"POST /containers/{CONTAINER}/stop"] = [(204, b"")]
    assert broker.stop(CONTAINER, 20) is True
    assert fake_broker.requests[0][1].endswith("/stop?t=20")


def test_output_is_the_last_lines(broker, fake_broker, engine):
    fake_broker.answers[f"GET /containers/{CONTAINER}/json"] = [(200, engine.container())]
    fake_broker.answers[f"GET /containers/{CONTAINER}/logs"] = [(200, engine.output("one\ntwo\n"))]
    assert broker.output(CONTAINER, 20) == "one\ntwo\n"
    (logs,) = [path for _, path, _ in fake_broker.requests if "/logs" in path]
    assert "tail=20" in logs
    assert "follow=0" in logs


def test_the_list_tells_live_containers_from_ended_ones(broker, fake_broker):
    def row(name, state):
        return {"Id": name, "State": state, "Labels": {"dagster/run_id": name, "code-location": "ingestion"}}

    rows = [row("a", "running"), row("b", "exited"), row("c", "paused"), row("d", "created")]
    fake_broker.answers["GET /containers/json"] = [(200, rows)]
    assert broker.runs() == [
        RunContainer("a", "a", "ingestion", live=True),
        RunContainer("b", "b", "ingestion", live=False),
        RunContainer("c", "c", "ingestion", live=True),
        RunContainer("d", "d", "ingestion", live=False),
    ]


def test_threads_share_a_broker_without_sharing_a_connection(broker, fake_broker, engine):
    fake_broker.answers[f"GET /containers/{CONTAINER}/json"] = [(200, engine.container(**engine.RUNNING))]
    found = []
    threads = [threading.Thread(target=lambda: found.append(broker.inspect(CONTAINER))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert all(one is not None and one["Id"] == CONTAINER for one in found)
