from dataclasses import replace

import pytest

from operations.errors import StackError
from operations.packages import Distribution
from operations.testing import browser
from operations.tests.fakes import Machine

BOOKWORM = Distribution("debian", "bookworm")
NOBLE = Distribution("ubuntu", "noble")


def without_a_browser(machine: Machine) -> None:
    for name in browser.NAMES:
        machine.executor.answer(name, "--version", code=127)


def test_a_browser_that_is_there_is_used(machine: Machine) -> None:
    machine.executor.answer("chromium", code=127)
    browser.provide(machine.context())
    assert machine.executor.ran("apt-get") == []


def test_on_debian_root_gets_the_distributions_browser(machine: Machine) -> None:
    without_a_browser(machine)
    browser.provide(machine.context(host=replace(machine.host, host=BOOKWORM)))
    assert machine.executor.ran("apt-get")[-1][-1] == "chromium"


def test_elsewhere_it_is_said_what_to_install(machine: Machine) -> None:
    without_a_browser(machine)
    with pytest.raises(StackError) as error:
        browser.provide(machine.context(host=replace(machine.host, host=NOBLE)))
    assert "chromium" in error.value.do
    assert machine.executor.ran("apt-get") == []
