"""Compute logs in a bucket of a real server of S3: copied when a run has ended, redacted, shown without the file."""

import io
import os
import shutil

import pytest
from botocore.exceptions import ClientError
from dagster._core.storage.compute_log_manager import ComputeIOType

from operations.testing import object_store
from run_launcher import compute_logs, log_shipping
from run_launcher.compute_logs import LocationsComputeLogManager
from run_launcher.log_bucket import BucketSettingError, from_environment
from run_launcher.log_shipping import Shipping

RIGHTS = {
    "operator": ["Admin", "Read", "Write", "List"],
    "logs": ["Read:logs/prod/*", "Write:logs/prod/*", "List:logs/prod/*"],
    "ingestion": ["Read:lakes/prod/ingestion/*", "Write:lakes/prod/ingestion/*"],
}
OTHER = "99999999-9999-9999-9999-999999999999"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with object_store.running(tmp_path_factory.mktemp("s3"), "127.0.0.1", RIGHTS) as server:
        yield server


@pytest.fixture
def settings(store, monkeypatch):
    object_store.empty(store, "logs")
    values = {"ENDPOINT": store.endpoint, "BUCKET": "logs", "REGION": object_store.REGION, "PREFIX": "prod"}
    opened = {"AUTHORITY": str(store.authority), "KEY": store.keys["logs"].id, "KEY_SECRET": store.keys["logs"].secret}
    for name, value in {**values, **opened}.items():
        monkeypatch.setenv(f"LOGS_S3_{name}", value)
    monkeypatch.setattr(log_shipping, "LAST_WORDS_SECONDS", 0)


@pytest.fixture
def base(tmp_path):
    for name in ("analytics", "daemon", "ingestion"):
        (tmp_path / "logs" / name).mkdir(parents=True)
    (tmp_path / "secret").write_text("hush-hush")
    return tmp_path / "logs"


@pytest.fixture
def manager(base, instance, settings):
    manager = LocationsComputeLogManager(str(base))
    manager.register_instance(instance)
    yield manager
    manager.dispose()


@pytest.fixture
def shipping(instance, manager):
    return Shipping(instance, manager, manager.bucket)


def write(folder, run_id, name="load.out", text="hello\n"):
    target = folder / run_id / "compute_logs" / name
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)
    return target


def end(instance, run):
    instance.report_run_failed(run)


def key(run):
    return [run.run_id, "compute_logs", "load"]


def test_a_run_that_has_ended_is_copied_once_and_shown_when_its_files_are_gone(
    shipping, manager, base, instance, make_run, store
):
    run = make_run("ingestion")
    for name, text in (("load.out", "hello\n" * 1000), ("load.err", "oh\n"), ("load.complete", "")):
        write(base / "ingestion", run.run_id, name, text)
    assert shipping.look() == 0, "it goes on"
    end(instance, run)
    assert shipping.look() == 1
    assert shipping.look() == 0
    folder = f"prod/storage/{run.run_id}"
    names = [f"{folder}/compute_logs/load.{kind}" for kind in ("complete", "err", "out")]
    assert object_store.listing(store, "logs") == [*names, f"{folder}/shipped"]
    shutil.rmtree(base / "ingestion" / run.run_id)
    shown = manager.get_log_data(key(run))
    assert (shown.stdout, shown.stderr) == (b"hello\n" * 1000, b"oh\n")
    assert manager.is_capture_complete(key(run))
    # In pieces, as the UI and a download ask.
    path = manager.get_captured_local_path(key(run), "out")
    assert manager.read_path(path, 6, 12) == (b"hello\nhello\n", 18)
    assert manager.read_path(path, 6000, 12) == (b"", 6000)


def test_a_webserver_that_restarts_copies_nothing_twice(shipping, manager, base, instance, make_run):
    run = make_run("ingestion")
    write(base / "ingestion", run.run_id)
    end(instance, run)
    assert shipping.look() == 1
    assert Shipping(instance, manager, manager.bucket).look() == 0


def test_a_copy_that_broke_off_is_made_again(shipping, manager, base, instance, make_run, store, monkeypatch):
    run = make_run("ingestion")
    for name in ("a.out", "b.out"):
        write(base / "ingestion", run.run_id, name)
    end(instance, run)
    put = manager.bucket.put

    def killed(name, content):
        if name.endswith("b.out"):
            raise KeyboardInterrupt
        put(name, content)

    with monkeypatch.context() as changed:
        changed.setattr(manager.bucket, "put", killed)
        with pytest.raises(KeyboardInterrupt):
            shipping.look()
    assert shipping.look() == 1
    assert len(object_store.listing(store, "logs")) == 3


@pytest.mark.parametrize(
    ("printed", "stored"),
    [
        ("mail ada.sampleton@9e.example\n", "mail [email]\n"),
        ("password=hunter2\n", "password=[secret]\n"),
        ("call +49 30 1234567\n" * 100_000, "call [phone]\n" * 100_000),
        ("card 4111 1111 1111 1111", "card [card]"),
    ],
)
def test_nothing_leaves_unredacted_though_a_location_wrote_it_so(
    shipping, base, instance, make_run, store, printed, stored
):
    run = make_run("ingestion")
    write(base / "ingestion", run.run_id, text=printed)
    end(instance, run)
    shipping.look()
    assert object_store.get(store, "logs", f"prod/storage/{run.run_id}/compute_logs/load.out").decode() == stored


def test_a_link_leads_nowhere(shipping, base, instance, make_run, store, tmp_path):
    run = make_run("ingestion")
    folder = write(base / "ingestion", run.run_id).parent
    os.symlink(tmp_path / "secret", folder / "door.out")
    os.symlink(tmp_path, folder / "house.err")
    end(instance, run)
    shipping.look()
    found = [object_store.get(store, "logs", name) for name in object_store.listing(store, "logs")]
    assert b"hello\n" in found
    assert not [content for content in found if b"hush" in content]


def test_a_folder_that_is_a_link_is_not_entered(shipping, base, instance, make_run, store):
    ours, theirs = make_run("ingestion"), make_run("analytics")
    write(base / "analytics", theirs.run_id, text="of analytics\n")
    (base / "ingestion" / ours.run_id).mkdir()
    os.symlink(base / "analytics" / theirs.run_id / "compute_logs", base / "ingestion" / ours.run_id / "compute_logs")
    end(instance, ours)
    shipping.look()
    assert [name for name in object_store.listing(store, "logs") if "compute_logs" in name] == []


def test_a_location_cannot_put_logs_to_anothers_run(shipping, base, instance, make_run, store):
    run = make_run("ingestion")
    write(base / "analytics", run.run_id, text="forged")
    write(base / "analytics", OTHER, text="forged")
    end(instance, run)
    assert shipping.look() == 0
    assert object_store.listing(store, "logs") == []


def test_a_location_cannot_keep_anothers_logs_from_the_bucket(shipping, base, instance, make_run, store):
    run = make_run("ingestion")
    # Looked at before ingestion's, in the order of names.
    (base / "analytics" / run.run_id).mkdir()
    write(base / "ingestion", run.run_id)
    end(instance, run)
    assert shipping.look() == 1
    assert f"prod/storage/{run.run_id}/compute_logs/load.out" in object_store.listing(store, "logs")
    # Nor by one that comes later.
    other = make_run("ingestion")
    write(base / "ingestion", other.run_id)
    assert shipping.look() == 0
    (base / "analytics" / other.run_id).mkdir()
    assert shipping.look() == 0
    end(instance, other)
    assert shipping.look() == 1


def of_two(instance, base, make_run):
    """Two runs that have ended, the first of them to be looked at first."""
    runs = make_run("analytics"), make_run("ingestion")
    for run, name in zip(runs, ("analytics", "ingestion"), strict=True):
        write(base / name, run.run_id)
        end(instance, run)
    return runs


def descriptors():
    return len(os.listdir("/proc/self/fd"))


def test_names_that_are_no_logs_neither_stop_nor_cost_anything(shipping, manager, base, instance, make_run, store):
    hostile, good = of_two(instance, base, make_run)
    folder = base / "analytics" / hostile.run_id / "compute_logs"
    (folder / "x.out").mkdir()
    os.mkfifo(folder / "pipe.err")
    with open(os.fsencode(folder) + b"/\xff.out", "wb"):
        pass
    path = manager.get_captured_local_path([hostile.run_id, "compute_logs", "x"], "out")
    manager.read_path(path)  # the connection to the bucket stays open
    before = descriptors()
    for _ in range(5):
        assert manager.read_path(path) == (None, 0)
    assert descriptors() == before
    assert shipping.look() == 2
    names = object_store.listing(store, "logs")
    assert {f"prod/storage/{run.run_id}/compute_logs/load.out" for run in (hostile, good)} <= set(names)
    assert shipping.look() == 0


def test_a_run_that_cannot_be_copied_is_told_and_the_others_are(
    shipping, manager, base, instance, make_run, monkeypatch, caplog
):
    hostile, _ = of_two(instance, base, make_run)
    put = manager.bucket.put

    def refuse(name, content):
        if name.startswith(hostile.run_id):
            raise OSError("no such thing")
        put(name, content)

    with monkeypatch.context() as changed:
        changed.setattr(manager.bucket, "put", refuse)
        assert [shipping.look(), shipping.look()] == [1, 0]
    assert [record.message for record in caplog.records] == [
        f"compute logs cannot be copied to logs: 1 run(s), as {hostile.run_id}: no such thing"
    ]
    assert shipping.look() == 1, "it is tried again"


def test_a_location_that_closes_its_folder_closes_no_other(shipping, base, instance, make_run, monkeypatch):
    def listed(folder):
        if folder.name == "analytics":
            raise PermissionError(13, "Permission denied", str(folder))  # which root would not be told
        return os.listdir(folder)

    of_two(instance, base, make_run)
    monkeypatch.setattr(compute_logs, "listdir", listed)
    assert shipping.look() == 1


def test_one_run_does_not_fill_the_bucket(shipping, base, instance, make_run, store, monkeypatch):
    monkeypatch.setattr(log_shipping, "MOST_BYTES", 3_000_000)
    monkeypatch.setattr(log_shipping, "MOST_FILES", 4)
    hostile, good = of_two(instance, base, make_run)
    folder = base / "analytics" / hostile.run_id / "compute_logs"
    with (folder / "a.out").open("wb") as sparse:
        sparse.truncate(1 << 40)
    for number in range(8):
        (folder / f"more{number}.out").write_text("more\n")
    assert shipping.look() == 2
    stored = {name: object_store.get(store, "logs", name) for name in object_store.listing(store, "logs")}
    told = f"prod/storage/{hostile.run_id}"
    mine = {name: content for name, content in stored.items() if name.startswith(f"{told}/compute_logs/")}
    assert len(mine) == 4
    assert sum(map(len, mine.values())) < 3_100_000
    assert any(content.endswith(log_shipping.CUT) for content in mine.values())
    assert b"more than 4 files" in stored[f"{told}/shipped"]
    assert stored[f"prod/storage/{good.run_id}/compute_logs/load.out"] == b"hello\n"


def test_the_key_of_the_logs_writes_nowhere_else_and_a_locations_key_not_there(store, manager, monkeypatch):
    for name, setting, value in (
        ("../lakes/x", "PREFIX", "staging"),
        ("x", "BUCKET", "lakes"),
        ("x", "KEY", store.keys["ingestion"].id),
    ):
        with monkeypatch.context() as changed:
            changed.setenv(f"LOGS_S3_{setting}", value)
            if setting == "KEY":
                changed.setenv("LOGS_S3_KEY_SECRET", store.keys["ingestion"].secret)
            other = LocationsComputeLogManager(str(manager._base)).bucket
        with pytest.raises(ClientError, match=r"AccessDenied|InvalidRequest|Forbidden|403"):
            other._client.put_object(Bucket=other.settings.bucket, Key=other._key(name), Body=b"x")


def test_a_bucket_that_is_away_is_told_once_and_waited_for(shipping, manager, base, instance, make_run, caplog):
    run = make_run("ingestion")
    write(base / "ingestion", run.run_id)
    end(instance, run)
    looks = iter([False, False, False, True])
    shipping._stop.wait = lambda _: next(looks)  # three looks, and the end
    manager.bucket.settings = manager.bucket.settings.__class__(**{**vars(manager.bucket.settings), "bucket": "none"})
    shipping.run()
    assert [record.message.split(":")[0] for record in caplog.records] == ["compute logs cannot be copied to none"]
    assert (base / "ingestion" / run.run_id / "compute_logs" / "load.out").read_text() == "hello\n"


def test_without_settings_there_is_no_bucket_and_half_of_them_are_named(monkeypatch):
    monkeypatch.delenv("LOGS_S3_BUCKET", raising=False)
    assert from_environment({}) is None
    with pytest.raises(BucketSettingError, match="not LOGS_S3_REGION, LOGS_S3_KEY, LOGS_S3_KEY_SECRET: expected all"):
        from_environment({"LOGS_S3_BUCKET": "logs", "LOGS_S3_ENDPOINT": "s3", "LOGS_S3_PREFIX": "prod"})


def test_what_a_server_calls_forbidden_instead_of_missing_is_missing(manager, monkeypatch):
    answer = {"Error": {"Code": "AccessDenied"}}

    def forbidden(**_):
        raise ClientError(answer, "GetObject")

    monkeypatch.setattr(manager.bucket._client, "get_object", forbidden)
    assert manager.bucket.get(f"{OTHER}/compute_logs/load.out", 0, 10) is None
    manager.bucket.put("there", io.BytesIO(b"x"))
    with pytest.raises(ClientError, match="AccessDenied"):
        manager.bucket.get("there", 0, 10)


def test_a_tick_is_not_looked_for_in_the_bucket(manager, monkeypatch):
    def refuse(*_):
        raise AssertionError("asked")

    monkeypatch.setattr(manager.bucket, "get", refuse)
    monkeypatch.setattr(manager.bucket, "has", refuse)
    tick = ["repository", "schedule", "12"]
    assert manager.get_log_data_for_type(tick, ComputeIOType.STDERR) == (None, 0)
    assert not manager.is_capture_complete(tick)
