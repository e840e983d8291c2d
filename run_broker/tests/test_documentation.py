"""What the broker can say and be told is in its document."""

import ast
import re
from pathlib import Path

import pytest

from run_broker.routes import ROUTES
from run_broker.settings import Settings
from run_broker.sockets import CALLERS

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "run-broker.md").read_text()
SOURCES = {path.name: path.read_text() for path in (ROOT / "run_broker" / "src" / "run_broker").glob("*.py")}


def reasons():
    """The second argument of every refusal in the code."""
    for source in SOURCES.values():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Refusal":
                assert len(node.args) > 1, ast.unparse(node)
                yield node.args[1].value if isinstance(node.args[1], ast.Constant) else None


REASONS = sorted(set(reasons()))
METRICS = sorted({name for source in SOURCES.values() for name in re.findall(r'"(run_broker_[a-z_]+)"', source)})


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_is_explained(reason):
    assert f"`{reason}`" in DOCUMENT


def test_every_reason_in_the_document_exists():
    table = DOCUMENT.split("## Reading a refusal")[1].split("## Log")[0]
    rows = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    explained = {word for cell in rows for word in re.findall(r"`([a-z-]+)`", cell)}
    assert explained - {"busy"} == set(REASONS)


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_documented(name):
    assert f"`{name.upper()}`" in DOCUMENT


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_is_documented(name):
    assert f"`{name}`" in DOCUMENT


def test_the_table_of_endpoints_is_the_policy():
    documented = {}
    for row in DOCUMENT.splitlines():
        for method, path in re.findall(r"`(GET|POST) (/[^` ]+)`", row) if row.startswith("| `") else []:
            cells = [cell.strip() == "yes" for cell in row.split("|")[2:4]]
            (route,) = [r for r in ROUTES if r.method == method and r.pattern.fullmatch(path.replace("{id}", "abc"))]
            documented[route.name] = {caller for caller, yes in zip(CALLERS, cells, strict=True) if yes}
    assert documented == {route.name: set(route.callers) for route in ROUTES}


@pytest.mark.parametrize("path", SOURCES)
def test_only_programs_read_the_environment(path):
    used = re.search(r"os\.environ|getenv", SOURCES[path])
    assert not used or path in ("__main__.py", "health.py")
