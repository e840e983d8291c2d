"""Parts of reconcile: orders of services, sources of images, mounted files, units, the command line."""

import configparser
import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from operations import calls, cli, locks
from operations.deployment import Deployment
from operations.reconcile import applying, contents, metrics, mounts, reconciling
from operations.reconcile.memory import Records
from operations.reconcile.mounts import Mounted

ROOT = Path(__file__).resolve().parents[2]
UNITS = ROOT / "deploy" / "systemd"


def test_services_come_after_what_they_depend_on_also_by_way_of_others() -> None:
    services: dict[str, Any] = {
        "gateway": {},
        "webserver": {"depends_on": {"migrate": {}, "sales": {}}},
        "sales": {},
        "migrate": {"depends_on": {"postgres": {}}},
        "postgres": {},
    }
    assert applying.levels(services, services) == [["gateway", "sales", "postgres"], ["migrate"], ["webserver"]]
    # What lies between needs not be replaced itself.
    assert applying.levels(services, ["webserver", "postgres"]) == [["postgres"], ["webserver"]]
    assert applying.levels(services, []) == []


def test_services_that_depend_on_each_other_do_not_hang_it() -> None:
    services: dict[str, Any] = {"a": {"depends_on": {"b": {}}}, "b": {"depends_on": {"a": {}}}}
    assert sorted(name for level in applying.levels(services, services) for name in level) == ["a", "b"]


def test_what_a_dockerfile_takes_from_the_repository() -> None:
    text = """\
ARG SERVICE=none
FROM base AS lock
COPY ${SERVICE}/requirements.lock /requirements.lock
COPY --from=lock /requirements.lock /x
COPY --chown=1:1 gateway/one gateway/two \\
     gateway/three /etc/
ADD libraries/index /build
RUN --mount=type=bind,source=libraries,target=/l --mount=type=bind,from=x,source=/opt/uv,target=/o true
"""
    wanted = ["gateway/one", "gateway/three", "gateway/two", "libraries", "libraries/index"]
    assert contents.sources(text, {"SERVICE": "daemon"}) == ["daemon/requirements.lock", *wanted]


def test_every_image_that_is_built_here_has_sources() -> None:
    import yaml

    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    for name, spec in services.items():
        if isinstance(spec.get("build"), dict):
            text = (ROOT / spec["build"]["dockerfile"]).read_text()
            arguments = {
                key: value for key, value in (spec["build"].get("args") or {}).items() if isinstance(value, str)
            }
            found = contents.sources(text, arguments)
            assert found, name
            assert [source for source in found if not (ROOT / source).exists()] == [], name


# --- files that are mounted -----------------------------------------------------------------------


def at(moment: float) -> str:
    """As the engine writes it."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f123Z")


@pytest.fixture
def mounted(tmp_path: Path) -> Mounted:
    path = tmp_path / "workspace.yaml"
    path.write_text("one")
    return Mounted("daemon", "/opt/dagster/workspace.yaml", path)


def test_a_file_that_changed_after_the_container_started_was_not_read(mounted: Mounted, tmp_path: Path) -> None:
    record = mounts.Record(tmp_path / "record")
    assert not record.differs(mounted, mounted.path, "c1", at(time.time() + 60))
    assert record.differs(mounted, mounted.path, "c1", at(time.time() - 60))


def test_what_a_container_has_read_is_recorded_by_its_start(mounted: Mounted, tmp_path: Path) -> None:
    started = at(time.time() - 60)
    mounts.Record(tmp_path / "record").write({("c1", started): [mounted]})
    record = mounts.Record(tmp_path / "record")
    assert not record.differs(mounted, mounted.path, "c1", started)
    os.utime(mounted.path)
    assert not record.differs(mounted, mounted.path, "c1", started)
    mounted.path.write_text("two")
    assert record.differs(mounted, mounted.path, "c1", started)
    # A container that was started again has read it.
    assert not record.differs(mounted, mounted.path, "c1", at(time.time() + 60))


def test_another_commits_file_is_compared_by_content(mounted: Mounted, tmp_path: Path) -> None:
    record, started = mounts.Record(tmp_path / "record"), at(time.time() + 60)
    other = tmp_path / "candidate"
    other.write_text("one")
    assert not record.differs(mounted, other, "c1", started)
    other.write_text("two")
    assert record.differs(mounted, other, "c1", started)


def test_a_file_that_is_read_again_counts_while_it_is_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "access.yaml"
    path.write_text("one")
    own, started = Mounted("webserver", "/opt/dagster/access.yaml", path), at(time.time() - 60)
    mounts.Record(tmp_path / "record").write({("w1", started): [own]})
    record = mounts.Record(tmp_path / "record")
    path.write_text("two")
    assert not record.differs(own, path, "w1", started)
    (tmp_path / "new").write_text("two")
    os.replace(tmp_path / "new", path)
    assert record.differs(own, path, "w1", started)


def test_a_file_keeps_its_identity_when_git_brings_another(tmp_path: Path) -> None:
    path, aside = tmp_path / "access.yaml", tmp_path / "state" / "aside"
    path.write_text("one, which is longer")
    inode = path.stat().st_ino
    mounts.keep(path, aside)
    path.unlink()
    path.write_text("two")
    mounts.put_back(path, aside)
    assert (path.read_text(), path.stat().st_ino, aside.exists()) == ("two", inode, False)
    # Nothing held, nothing to put back; and nothing brought, nothing lost.
    mounts.put_back(path, aside)
    mounts.keep(path, aside)
    mounts.put_back(path, aside)
    assert (path.read_text(), path.stat().st_ino, aside.exists()) == ("two", inode, False)


def test_folders_count_by_all_their_files(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a").write_text("x")
    first = mounts.fingerprint(folder)
    (folder / "b").write_text("")
    assert mounts.fingerprint(folder) != first
    assert mounts.fingerprint(tmp_path / "none") == "missing"


def test_only_files_of_the_checkout_are_looked_at() -> None:
    root = Path("/srv/deployment")
    spec = {
        "volumes": [
            {"type": "bind", "source": "/srv/deployment/access.yaml", "target": "/a"},
            {"type": "bind", "source": "/srv/deployment/secrets/x", "target": "/b"},
            {"type": "bind", "source": "/var/run/docker.sock", "target": "/c"},
            {"type": "volume", "source": "lake", "target": "/d"},
        ]
    }
    assert [each.target for each in mounts.of_service("x", spec, root, root / "secrets")] == ["/a"]


# --- metrics and units ----------------------------------------------------------------------------


def test_metrics_keep_what_a_call_does_not_know_and_all_digits_of_a_time(tmp_path: Path) -> None:
    path = tmp_path / "metrics" / "reconcile.prom"
    metrics.write(path, "prod", {"stack_reconcile_last_success_timestamp_seconds": 1795262601.25})
    metrics.write(path, "prod", {"stack_reconcile_in_step": 0})
    assert metrics.read(path)["stack_reconcile_last_success_timestamp_seconds"] == 1795262601.25
    assert 'stack_reconcile_in_step{deployment="prod"} 0\n' in path.read_text()
    assert [name for name in metrics.HELP if not name.startswith("stack_reconcile_")] == []


def unit(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(UNITS / name)
    return parser


def test_units_and_code_mean_the_same_files_codes_and_options() -> None:
    records = Records(Deployment(Path("@CHECKOUT@")))
    service, hook = unit("reconcile.service"), unit("reconcile-webhook.service")
    assert unit("reconcile.path")["Path"]["PathModified"] == str(records.wanted)
    assert hook["Service"]["ReadWritePaths"] == str(records.wanted)
    assert service["Unit"]["ConditionPathExists"] == str(records._memory)
    assert service["Service"]["SuccessExitStatus"] == f"{reconciling.PAUSED} {reconciling.BUSY}"
    assert service["Service"]["ExecStart"] == "@CHECKOUT@/stack reconcile"
    assert hook["Service"]["ExecStart"].startswith("@CHECKOUT@/stack reconcile --listen ")
    assert hook["Service"]["LoadCredential"].split(":")[0] == "reconcile_webhook"
    assert {"NoNewPrivileges", "ProtectSystem", "InaccessiblePaths"} <= set(hook["Service"])


# --- the command line ------------------------------------------------------------------------------


def test_exit_codes_are_what_scripts_and_alerts_hang_on() -> None:
    codes = (reconciling.IN_STEP, reconciling.FAILED, reconciling.DIFFERS, reconciling.PAUSED, reconciling.BUSY)
    assert codes == (0, 1, 2, 4, 5)
    page = (ROOT / "docs" / "operations" / "reconcile.md").read_text()
    assert [code for code in codes if f"| {code} |" not in page] == []


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(calls, "ROOT", tmp_path)
    for name in (".env", ".env.example"):
        (tmp_path / name).write_text("# Where it is.\nSECRETS_DIR=./secrets\n")
    return tmp_path


def test_a_command_that_finds_another_at_work_says_whose_and_has_a_code_of_its_own(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with locks.hold(checkout / ".stack/prod/lock", "./stack deploy", "sales"):
        assert cli.main(["reconcile", "--dry-run"]) == reconciling.BUSY
    assert "`./stack deploy` (sales) by " in capsys.readouterr().err


def test_a_pause_is_written_down_told_and_ended(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["reconcile", "--pause", "restoring a table"]) == 0
    assert json.loads((checkout / ".stack/prod/paused").read_text())["why"] == "restoring a table"
    assert cli.main(["reconcile"]) == reconciling.PAUSED
    assert cli.main(["reconcile", "--dry-run"]) == reconciling.PAUSED
    capsys.readouterr()
    assert cli.main(["reconcile", "--json"]) == reconciling.PAUSED
    document = json.loads(capsys.readouterr().out)
    assert (document["result"], document["why"], document["deployment"]) == ("paused", "restoring a table", "prod")
    assert cli.main(["reconcile", "--resume"]) == 0
    assert not (checkout / ".stack/prod/paused").exists()
    audit = (checkout / ".stack/prod/audit.jsonl").read_text()
    assert "pause: restoring a table" in audit


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--dry-run", "--retry"), 1),
        (("--pause", "x", "--resume"), 1),
        (("--pause", ""), 1),
        (("--listen", "0"), 2),
        (("--listen", "99999"), 2),
        (("--listen", "9419"), 1),
        ((), 1),
    ],
)
def test_calls_that_make_no_sense_are_one_error(
    checkout: Path, arguments: tuple[str, ...], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["reconcile", *arguments]) == code
    told = capsys.readouterr().err
    assert told
    assert "Traceback" not in told
    assert "unexpected" not in told


def test_a_deployment_that_does_not_exist_is_not_made(checkout: Path) -> None:
    result = CliRunner().invoke(cli.app, ["--deployment", "prdo", "reconcile"])
    assert result.exit_code == 1
    assert not (checkout / ".stack" / "prdo").exists()
