"""A migration's container goes with the call that started it."""

from collections.abc import Sequence
from typing import Any

import pytest

from operations.errors import StackError
from operations.execute import Result
from operations.releases import migration
from operations.tests.fakes import FakeExecutor, Machine

CONTAINER = "prod-ingestion-migration"
REMOVE = ["docker", "rm", "--force", "--volumes", CONTAINER]


class Interrupted(FakeExecutor):
    """Somebody presses Ctrl-C while a migration is at work."""

    def run(self, args: Sequence[str], **options: Any) -> Result:
        result = super().run(args, **options)
        if "platform_kit.migrations" in args:
            raise KeyboardInterrupt
        return result


def test_it_has_a_name_and_one_that_a_killed_call_left_goes_first(machine: Machine) -> None:
    migration.upgrade(machine.context(), "ingestion", {})
    removed, migrated = machine.executor.calls
    assert removed == REMOVE
    assert migrated[migrated.index("run") :][:4] == ["run", "--rm", "--name", CONTAINER]


def test_after_a_timeout_it_does_not_go_on(machine: Machine) -> None:
    machine.executor.answer("platform_kit.migrations", code=124, stderr="no answer within 1800 s")
    with pytest.raises(StackError, match="its migration failed"):
        migration.upgrade(machine.context(), "ingestion", {})
    assert machine.executor.calls[-1] == REMOVE


@pytest.mark.parametrize("verb", [migration.upgrade, migration.downgrade, migration.current])
def test_after_an_interrupt_it_does_not_go_on(machine: Machine, verb: Any) -> None:
    machine.executor = Interrupted()
    arguments = ("r1",) if verb is migration.downgrade else ()
    with pytest.raises(KeyboardInterrupt):
        verb(machine.context(), "ingestion", {}, *arguments)
    assert machine.executor.calls[-1] == REMOVE
