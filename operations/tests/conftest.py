from pathlib import Path

import pytest

from operations.tests.fakes import Machine


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose's precedence would let a variable of the developer's shell change what is tested."""
    for name in ("COMPOSE_FILE", "SITE_ADDRESS", "GATEWAY_BIND", "GATEWAY_PORT", "SECRETS_DIR", "BASE_IMAGE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)
