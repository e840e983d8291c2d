"""Promise: what exists is documented, and what is documented exists."""

import re
import subprocess

import pytest
import yaml

from operations.checking.settings import NOT_INTERPOLATED
from tests.support.deployment import ROOT
from tests.support.locations import shipped

README = (ROOT / "README.md").read_text()


def test_the_root_is_what_the_readme_says() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    visible = {path.partition("/")[0] for path in tracked if not path.startswith(".")} | {".env.example"}
    table = README.partition("## What is where")[2].partition("\n## ")[0]
    first_cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("|")]
    named = {name.rstrip("/") for cell in first_cells for name in re.findall(r"`([^`]+)`", cell)}
    assert named == visible


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 150


def test_every_service_is_in_the_readmes_table() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    # Code locations come and go by ./stack location, which lists them.
    lasting = [name for name in services if name not in shipped()]
    assert [name for name in lasting if f"`{name}`" not in README] == []


def test_every_verb_has_a_page() -> None:
    printed = subprocess.run([ROOT / "stack", "--help"], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    verbs = set(re.findall(r"^[│ |]+([a-z]+) {2,}", printed, re.MULTILINE))
    assert {"up", "down", "status", "doctor", "check", "test", "user"} <= verbs
    pages = {path.stem for path in (ROOT / "docs" / "operations").glob("*.md")} - {"README"}
    assert pages == verbs


def test_settings_are_the_variables_of_compose() -> None:
    files = [ROOT / "docker-compose.yml", *(ROOT / "deploy" / "overlays").glob("*.yml")]
    used = {name for path in files for name in re.findall(r"\$\{([A-Z0-9_]+)", path.read_text())}
    documented = set(re.findall(r"^([A-Z0-9_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    compose_own = {"COMPOSE_PROJECT_NAME"}
    assert used - compose_own == documented - NOT_INTERPOLATED


@pytest.mark.parametrize(
    "page", sorted(path.relative_to(ROOT).as_posix() for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
)
def test_links_lead_somewhere(page: str) -> None:
    path = ROOT / page
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text())
    assert [link for link in links if "://" not in link and not (path.parent / link).exists()] == []


def test_no_file_names_a_package_host() -> None:
    hosts = ["py" + "pi.org", "python" + "hosted", "deb.debi" + "an.org", "files." + "python"]
    found = subprocess.run(
        ["git", "grep", "-lE", "|".join(hosts), "--", ".", ":!*.lock"], cwd=ROOT, capture_output=True, text=True
    ).stdout.split()
    assert found == []
