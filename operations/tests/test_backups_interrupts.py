"""Ctrl-C and kill -9 at every single call of a restore: the old data is there or the new, and it can be repeated.

What the calls do is kept in files, so that it outlives the process that is killed.
"""

import json
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from operations import base_image, docker, prepare, secret_files
from operations.backups import journal, restoring, taking
from operations.backups.restoring import Wish
from operations.context import Context
from operations.deployment import Deployment
from operations.errors import StackError
from operations.execute import Result
from operations.tests.fakes import FakeExecutor, Machine, container
from operations.tests.test_backups import CONFIG, PLAN, RECORD, STAGED, result
from operations.verbs import up as up_verb


class Volumes(FakeExecutor):
    """Carries out what changes something, in files; breaks off before or after one of its calls."""

    def __init__(self, root: Path, occupied: bool) -> None:
        super().__init__()
        self.root = root
        self.steps, self.stop_at, self.kind = 0, -1, ""
        root.mkdir(exist_ok=True)
        if occupied and not (root / "data").exists():
            (root / "data").write_text("old")
            (root / "running").touch()

    def run(
        self,
        args: Sequence[str],
        *,
        stdin: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float | None = None,
        check: bool = True,
    ) -> Result:
        self._maybe_break()
        printed = self._carry_out(list(args))
        self._maybe_break()
        done = super().run(args, stdin=stdin, env=env, timeout=timeout, check=check)
        return done if printed is None else Result(tuple(args), 0, printed)

    def _maybe_break(self) -> None:
        self.steps += 1
        if self.steps == self.stop_at:
            if self.kind == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise KeyboardInterrupt

    def _carry_out(self, args: list[str]) -> str | None:
        if "-m" in args and "backup" in args[args.index("-m") :]:
            question = args[args.index("-m") + 2]
            return result(getattr(self, question)(args))
        if "down" in args:
            (self.root / "running").unlink(missing_ok=True)
        return None

    def plan(self, _: list[str]) -> Any:
        occupied = ["postgres"] if (self.root / "data").exists() else []
        return {**PLAN, "folders": ["eta"], "occupied": occupied, "owner": "gone"}

    def record(self, _: list[str]) -> Any:
        return RECORD

    def lay(self, args: list[str]) -> Any:
        assert args[-1] == "eta"
        (self.root / "files.restored").write_text("new")

    def stage(self, _: list[str]) -> Any:
        assert (self.root / "files.restored").exists()
        (self.root / "data.restored").write_text("new")
        return STAGED

    def discard(self, _: list[str]) -> Any:
        for name in ("data.restored", "files.restored"):
            (self.root / name).unlink(missing_ok=True)

    def swap(self, _: list[str]) -> Any:
        assert not (self.root / "running").exists()
        if (self.root / "data.restored").exists():
            if (self.root / "data").exists():
                (self.root / "data").replace(self.root / "data.before")
            (self.root / "data.restored").replace(self.root / "data")
            (self.root / "files.restored").unlink()

    def finish(self, _: list[str]) -> Any:
        (self.root / "data.before").unlink(missing_ok=True)


class World:
    """A machine whose volumes last."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch, occupied: bool) -> None:
        self.machine = Machine(root)
        self.occupied, self.volumes = occupied, root / "volumes"
        secrets = root / "secrets"
        secrets.mkdir(mode=0o700)
        (secrets / "backup_passphrase").write_text("open")
        if occupied:
            self.machine.made_env()
        monkeypatch.setattr(base_image, "provide", lambda _: None)
        monkeypatch.setattr(prepare, "make_secrets", self._make_secrets)
        monkeypatch.setattr(up_verb, "up", self._up)
        self.fresh_executor()

    def fresh_executor(self) -> Volumes:
        made = Volumes(self.volumes, self.occupied)
        self.machine.executor = made
        self.machine.tools_are_there()
        made.answer("config", "--format", "json", stdout=json.dumps(CONFIG))
        made.answer("ps", "--all", stdout="one\n")
        made.answer("inspect", "--type", stdout=json.dumps([container("postgres")]))
        return made

    def _make_secrets(self, context: Context) -> None:
        secret_files.create(context.deployment.secrets() / "backup_owner", "me")

    def _up(self, _: Context) -> int:
        (self.volumes / "running").touch()
        return 0

    def restore(self) -> int:
        return restoring.restore(self.machine.context(), Wish(overwrite=self.occupied))

    def broken_off(self, step: int, kind: str) -> None:
        """A restore that ends at this step: by an exception, or in a process that is killed."""
        executor = self.fresh_executor()
        executor.stop_at, executor.kind = step, kind
        if kind == "interrupt":
            with pytest.raises(KeyboardInterrupt):
                self.restore()
            return
        child = os.fork()
        if child == 0:
            try:
                self.restore()
            finally:
                os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL

    def text(self, name: str) -> str:
        path = self.volumes / name
        return path.read_text() if path.exists() else ""


def steps_of(tmp_path: Path, occupied: bool) -> int:
    with pytest.MonkeyPatch.context() as patch:
        (tmp_path / "undisturbed").mkdir()
        world = World(tmp_path / "undisturbed", patch, occupied)
        executor = world.fresh_executor()
        assert world.restore() == 0
        return executor.steps


@pytest.mark.parametrize(
    ("occupied", "kind"),
    [
        pytest.param(False, "interrupt", id="empty, interrupt"),
        pytest.param(True, "kill", id="over data, kill"),
        pytest.param(False, "kill", id="empty, kill", marks=pytest.mark.long),
        pytest.param(True, "interrupt", id="over data, interrupt", marks=pytest.mark.long),
    ],
)
def test_at_every_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, occupied: bool) -> None:
    steps = steps_of(tmp_path, occupied)
    assert steps > 20
    for step in range(1, steps + 1):
        root = tmp_path / f"{step}"
        root.mkdir()
        world = World(root, monkeypatch, occupied)
        world.broken_off(step, kind)
        deployment = Deployment(root)
        begun = journal.read(deployment) is not None
        before = "old" if occupied else ""
        if not begun and world.text("data") != "new":
            # Nothing was overwritten, and whoever worked goes on.
            assert world.text("data") == before, step
            assert (world.volumes / "running").exists() == occupied, step
            if kind == "interrupt" and not occupied:
                assert not deployment.env_file.exists(), step
                assert sorted(path.name for path in (root / "secrets").iterdir()) == ["backup_passphrase"], step
        world.fresh_executor()
        # After its end there is nothing to take up: a fresh machine has data by then, which is not replaced unasked.
        if not begun and world.text("data") == "new" and not occupied:
            with pytest.raises(StackError, match="has data"):
                world.restore()
        else:
            assert world.restore() == 0, step
        assert world.text("data") == "new", step
        assert journal.read(deployment) is None, step
        assert sorted(path.name for path in world.volumes.iterdir()) == ["data", "running"], step
        assert deployment.env_file.exists(), step


def test_a_restored_machine_inherits_its_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path, monkeypatch, occupied=False)
    assert world.restore() == 0
    assert (tmp_path / "secrets" / "backup_owner").read_text() == "me\ngone\n"


def test_what_a_killed_restore_had_asked_is_ended_before_the_next_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path, monkeypatch, occupied=True)
    left = container("backup", labels={"com.docker.compose.oneoff": "True"})
    world.machine.executor.forget("inspect", "--type")
    world.machine.executor.answer("inspect", "--type", stdout=json.dumps([left, container("postgres")]))
    assert world.restore() == 0
    calls = world.machine.executor.calls
    removed = calls.index(docker.remove(left["Id"]))
    assert removed < next(number for number, call in enumerate(calls) if "lay" in call)


def test_a_backup_that_is_interrupted_ends_in_its_container_too(machine: Machine) -> None:
    machine.made_env()
    machine.executor.answer("config", "--format", "json", stdout=json.dumps(CONFIG))
    machine.executor.answer("ps", "--all", stdout="one\n")
    machine.executor.answer("inspect", "--type", stdout=json.dumps([container("backup")]))
    machine.executor.answer("backup", "stop", stdout=result(True))
    asked = machine.executor.run

    def run(args: Sequence[str], **how: Any) -> Result:
        done = asked(args, **how)
        if "take" in args:
            raise KeyboardInterrupt
        return done

    machine.executor.run = run  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        taking.take(machine.context(), full=False, verify=False)
    assert machine.executor.ran("backup", "stop")
