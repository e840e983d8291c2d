from pathlib import Path

import pytest

from deploy.ec2.tests.fakes import FakeHost


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    """A machine in a folder."""
    return FakeHost(tmp_path)
