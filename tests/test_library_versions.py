"""Promise: code locations run on different released versions of the shared library at once."""

import re

import pytest

from tests.support.deployment import ROOT, Deployment
from tests.support.locations import shipped

PIN = re.compile(r"^platform-kit==(\S+)", re.MULTILINE)
INSTALLED = "from importlib.metadata import version; print(version('platform_kit'))"


def pins() -> dict[str, str]:
    """The version that each location locks, of those that lock one."""
    locks = {name: ROOT / "code_locations" / name / "requirements.lock" for name in shipped()}
    found = {name: PIN.search(lock.read_text()) for name, lock in locks.items() if lock.is_file()}
    return {name: match[1] for name, match in found.items() if match}


def test_each_location_runs_the_version_that_it_pins(deployment: Deployment) -> None:
    running = {name: deployment.python(name, INSTALLED).strip() for name in pins()}
    assert running == pins()


@pytest.mark.needs("ingestion", "analytics", "eta", "reporting", "platform")
def test_two_released_versions_run_at_once() -> None:
    versions = set(pins().values())
    assert len(versions) >= 2, f"all locations pin {versions}: nothing shows that they may differ"
    assert {f"platform_kit-{version}-py3-none-any.whl" for version in versions} <= {
        path.name for path in (ROOT / "libraries" / "index").glob("*.whl")
    }
