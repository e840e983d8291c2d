"""Logs of all locations in one place: the right one is found, and nothing else is ever read."""

import os
import shutil
import threading

import pytest
from dagster._core.storage.compute_log_manager import ComputeIOType
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager

from run_launcher.compute_logs import LocationsComputeLogManager
from run_launcher.log_files import LARGEST_READ, UnsafeLogKeyError
from run_launcher.log_subscriptions import PolledSubscriptions

STRANGER = "99999999-9999-9999-9999-999999999999"


@pytest.fixture
def base(tmp_path):
    for name in ("analytics", "daemon", "ingestion"):
        (tmp_path / "logs" / name).mkdir(parents=True)
    (tmp_path / "secret").write_text("hush-hush")
    return tmp_path / "logs"


@pytest.fixture
def manager(base, instance):
    manager = LocationsComputeLogManager(str(base))
    manager.register_instance(instance)
    yield manager
    manager.dispose()


def write(folder, run_id, text="hello\n", name="load.out"):
    target = folder / run_id / "compute_logs" / name
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)
    return target


def key(run):
    return [run.run_id, "compute_logs", "load"]


def test_a_runs_log_is_found_in_its_locations_directory(manager, base, make_run):
    run = make_run("analytics")
    write(base / "analytics", run.run_id)
    assert manager.get_log_data(key(run)).stdout == b"hello\n"


def test_what_a_run_writes_with_dagsters_plain_manager_is_found(manager, base, make_run):
    run = make_run("ingestion")
    plain = LocalComputeLogManager(str(base / "ingestion"))
    long_key = [run.run_id, "compute_logs", "x" * 300]
    with plain.open_log_stream(long_key, ComputeIOType.STDERR) as stream:
        stream.write("line\n")
    assert manager.get_log_data(long_key).stderr == b"line\n"
    plain.dispose()


def test_another_location_cannot_show_its_own_file_as_this_runs_log(manager, base, make_run):
    run = make_run("ingestion")
    write(base / "analytics", run.run_id, "forged")
    assert manager.get_log_data(key(run)).stdout is None


def test_an_unknown_run_has_no_log_wherever_somebody_put_one(manager, base):
    write(base / "analytics", STRANGER, "forged")
    assert manager.get_log_data([STRANGER, "compute_logs", "load"]).stdout is None


@pytest.mark.parametrize(
    "part",
    ["..", ".", "", "/etc/passwd", "../secret", "a/b", "a\\b", "a\x00b", "a\nb", "\x7f", "x" * 300, "é" * 128, None, 7],
)
@pytest.mark.parametrize("place", [0, 1])
def test_a_part_that_is_no_plain_name_is_refused(manager, part, place):
    log_key = ["__repository__", "sensor", "1"]
    log_key[place] = part
    with pytest.raises(UnsafeLogKeyError):
        manager.get_captured_local_path(log_key, "out")


@pytest.mark.parametrize("log_key", [["..", "..", "secret"], ["/etc/passwd"], [], ["ok", "..", "..", "..", "secret"]])
def test_a_path_out_of_the_directory_is_refused(manager, log_key):
    with pytest.raises(UnsafeLogKeyError):
        manager.get_log_data(log_key)


@pytest.mark.parametrize("extension", ["../../../secret", "out/../../x", "", "pyc", "out\x00"])
def test_an_extension_that_is_no_kind_of_log_is_refused(manager, extension):
    # It comes from the download address, as the rest of the key does.
    with pytest.raises(UnsafeLogKeyError):
        manager.get_captured_local_path(["__repository__", "sensor", "1"], extension)


def test_a_link_out_of_the_location_is_not_followed(manager, base, make_run):
    run = make_run("ingestion")
    target = write(base / "ingestion", run.run_id)
    target.unlink()
    target.symlink_to(base.parent / "secret")
    with pytest.raises(UnsafeLogKeyError):
        manager.get_log_data(key(run))


def test_a_link_to_another_locations_logs_is_not_followed(manager, base, make_run):
    mine, other = make_run("ingestion"), make_run("analytics")
    write(base / "analytics", other.run_id, "private")
    (base / "ingestion" / mine.run_id).symlink_to(base / "analytics" / other.run_id)
    with pytest.raises(UnsafeLogKeyError):
        manager.get_log_data(key(mine))


def test_a_link_put_in_place_after_the_check_is_not_followed(manager, base, make_run):
    run = make_run("ingestion")
    target = write(base / "ingestion", run.run_id)
    path = manager.get_captured_local_path(key(run), "out")
    target.unlink()
    target.symlink_to(base.parent / "secret")
    assert manager.read_path(path) == (None, 0)
    shutil.rmtree(base / "ingestion" / run.run_id)
    (base.parent / "compute_logs").mkdir()
    (base.parent / "compute_logs" / "load.out").write_text("hush-hush")
    (base / "ingestion" / run.run_id).symlink_to(base.parent)
    assert manager.read_path(path) == (None, 0)


@pytest.mark.timeout(20)
def test_a_pipe_in_place_of_a_log_does_not_hold_the_reader(manager, base, make_run):
    run = make_run("ingestion")
    target = write(base / "ingestion", run.run_id)
    target.unlink()
    os.mkfifo(target)
    assert manager.get_log_data(key(run)).stdout is None


def test_gigabytes_of_one_run_are_read_in_bounded_parts(manager, base, make_run):
    run = make_run("ingestion")
    target = write(base / "ingestion", run.run_id)
    with target.open("r+b") as file:
        file.truncate(10 * 1024**3)
    data = manager.get_log_data(key(run))
    assert len(data.stdout) == LARGEST_READ
    assert data.cursor == f"{LARGEST_READ}:0"


def test_a_ticks_log_is_found_wherever_its_number_is(manager, base):
    folder = base / "analytics" / "__repository__" / "watch"
    folder.mkdir(parents=True)
    (folder / "12.err").write_text("tick\n")
    assert manager.get_log_data(["__repository__", "watch", "12"]).stderr == b"tick\n"


def test_a_tick_that_two_locations_claim_is_not_shown(manager, base):
    for location in ("analytics", "ingestion"):
        folder = base / location / "__repository__" / "watch"
        folder.mkdir(parents=True)
        (folder / "12.err").write_text(location)
    assert manager.get_log_data(["__repository__", "watch", "12"]).stderr is None


def test_the_daemons_own_logs_are_written_and_listed(manager, base):
    with manager.open_log_stream(["backfill", "abc", "20260101"], ComputeIOType.STDERR) as stream:
        stream.write("first\n")
    assert (base / "daemon" / "backfill" / "abc" / "20260101.err").read_text() == "first\n"
    keys = manager.get_log_keys_for_log_key_prefix(["backfill", "abc"], ComputeIOType.STDERR)
    assert keys == [["backfill", "abc", "20260101"]]
    lines, _ = manager.read_log_lines_for_log_key_prefix(["backfill", "abc"], None, ComputeIOType.STDERR)
    assert lines[0] == "first"


def test_a_backfill_without_logs_is_empty_not_an_error(manager):
    assert manager.get_log_keys_for_log_key_prefix(["backfill", "none"], ComputeIOType.STDERR) == []


def test_without_a_directory_of_its_own_a_service_logs_nowhere(manager, base):
    (base / "daemon").rmdir()
    with manager.open_log_stream(["backfill", "abc", "1"], ComputeIOType.STDERR) as stream:
        assert stream is None
    assert sorted(folder.name for folder in base.iterdir()) == ["analytics", "ingestion"]


def test_deleting_by_prefix_stays_in_its_directory(manager, base):
    write(base / "daemon", "backfill")
    with pytest.raises(UnsafeLogKeyError):
        manager.delete_logs(prefix=[".."])
    with pytest.raises(UnsafeLogKeyError):
        manager.delete_logs(prefix=["/"])
    manager.delete_logs(prefix=["backfill"])
    assert list((base / "daemon").iterdir()) == []
    assert (base / "ingestion").is_dir()


def test_a_subscriber_gets_what_is_written_later_and_then_the_end(manager, base, make_run):
    run = make_run("ingestion")
    manager._subscription_manager = PolledSubscriptions(manager, interval_seconds=0.02)
    received, got_it = [], threading.Event()

    def observe(data):
        if data.stdout:
            received.append(data.stdout)
            got_it.set()

    subscription = manager.subscribe(key(run))(observe)
    write(base / "ingestion", run.run_id, "late\n")
    assert got_it.wait(10)
    write(base / "ingestion", run.run_id, "", "load.complete")
    thread = manager._subscription_manager._thread
    if thread is not None:
        thread.join(10)
    assert received == [b"late\n"]
    assert subscription.is_complete


def test_subscribing_to_a_run_without_logs_writes_nothing(manager, base, make_run):
    # The volume is read-only for the webserver; Dagster's own watcher would create the directory.
    run = make_run("ingestion")
    subscription = manager.subscribe(key(run))
    assert list((base / "ingestion").iterdir()) == []
    manager.unsubscribe(subscription)


def test_one_subscribers_trouble_does_not_end_the_others(manager, base, make_run):
    run = make_run("ingestion")
    subscriptions = PolledSubscriptions(manager, interval_seconds=0.02)
    manager._subscription_manager = subscriptions
    got_it = threading.Event()
    armed = []

    def break_down(_):
        if armed:
            raise ConnectionError("the browser went away")

    broken = manager.subscribe(key(run))(break_down)
    healthy = manager.subscribe(key(run))(lambda data: got_it.set() if data.stdout else None)
    armed.append(True)
    write(base / "ingestion", run.run_id, "late\n")
    assert got_it.wait(10)
    manager.unsubscribe(healthy)
    manager.unsubscribe(broken)
    subscriptions.dispose()
