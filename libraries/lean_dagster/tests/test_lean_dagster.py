"""What is left out is left out, and is there for whoever uses it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from lean_dagster import absent

DEFINITIONS = """
import dagster as dg

@dg.asset
def table() -> None: ...

defs = dg.Definitions(assets=[table])
"""
# The command line of a code server, until it has loaded its definitions.
SERVE = """
import sys
from dagster._grpc.server import DagsterApiServer
load = DagsterApiServer.__init__

def look(server, *args, **named):
    load(server, *args, **named)
    print("loaded", *sorted({"dagster", "rich", "pygments", "sqlalchemy", "sqlite3"} & set(sys.modules)))
    print("serves", *(symbol.repository_name for symbol in server._loaded_repositories.loadable_repository_symbols))
    from dagster._utils.test import wrap_op_in_graph
    import rich.traceback
    print("used", *sorted({"rich", "pygments", "sqlalchemy"} & set(sys.modules)))
    raise SystemExit(7)

DagsterApiServer.__init__ = look
from lean_dagster.__main__ import main
sys.argv[1:] = ["api", "grpc", "-p", "1", "-m", "served"]
main()
"""


def test_a_code_server_loads_its_definitions_without_and_its_code_may_use_all(tmp_path: Path) -> None:
    (tmp_path / "served.py").write_text(DEFINITIONS, encoding="utf-8")
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    environment = {**os.environ, "PYTHONPATH": path, "DAGSTER_DISABLE_TELEMETRY": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SERVE], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    said = [line for line in done.stdout.splitlines() if "dagster.code_server" not in line]
    assert said == ["loaded dagster", "serves __repository__", "used pygments rich sqlalchemy"], done.stderr
    assert done.returncode == 7, "the exit code is the command's"


def test_what_was_imported_before_stays() -> None:
    import json

    with absent("json", "rich_is_not_here"):
        import json as again
    assert again is json
    assert "rich_is_not_here" not in sys.modules


def test_what_is_absent_is_not_found_until_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "this", raising=False)
    with absent("this"), pytest.raises(ModuleNotFoundError):
        import this  # noqa: F401
    assert "this" not in sys.modules
