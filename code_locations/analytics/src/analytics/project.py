"""The dbt project: where it is, how it is parsed, and what a command needs to know about this environment."""

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from platform_kit.environment import Environment, Kind, current

LOCATION = "analytics"
DIRECTORY = Path(__file__).parent / "dbt_project"
PREPARED = DIRECTORY / "target"
PARTIAL_PARSE = "partial_parse.msgpack"


class ProjectError(Exception):
    """The dbt project cannot be used as it is; the message says what to do."""


def executable() -> str:
    """dbt of this Python environment, whatever else is on the PATH."""
    return str(Path(sys.executable).with_name("dbt"))


def variables(environment: Environment) -> dict[str, str]:
    """dbt variables: none in a container, because another set of variables makes dbt parse everything anew."""
    if environment.kind is not Kind.LOCAL:
        return {}
    return {
        "lake_root": str(environment.lake_data_path().parent),
        "schema_prefix": environment.schema(""),
    }


def arguments(environment: Environment) -> list[str]:
    """What every dbt command is told about the environment, beside the target."""
    values = variables(environment)
    return ["--vars", json.dumps(values)] if values else []


def parse(environment: Environment, target_path: Path) -> None:
    """Parse the project into a manifest; needs no database, no password and no network."""
    command = [
        *(executable(), "--quiet", "parse", "--target", environment.dbt_target, *arguments(environment)),
        *("--project-dir", str(DIRECTORY), "--profiles-dir", str(DIRECTORY)),
        *("--target-path", str(target_path), "--log-path", str(target_path)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ProjectError(f"dbt cannot parse {DIRECTORY}:\n{done.stdout}{done.stderr}")


@cache
def prepared(environment: Environment | None = None) -> Path:
    """The folder with the parsed project: from the image's build; on a developer's machine, parsed when it changed."""
    environment = environment or current(LOCATION)
    target = environment.dbt_target
    if environment.kind is Kind.LOCAL:
        # Schemas and paths of a local manifest are the developer's own.
        digest = hashlib.sha256(json.dumps(variables(environment)).encode()).hexdigest()[:8]
        folder = PREPARED / f"{target}-{digest}"
        if _is_stale(folder / "manifest.json"):
            parse(environment, folder)
        return folder
    folder = PREPARED / target
    if not (folder / "manifest.json").is_file():
        raise ProjectError(f"There is no manifest in {folder}: run python -m {LOCATION}.build when the image is built.")
    return folder


def manifest() -> Path:
    """The parsed project's manifest."""
    return prepared() / "manifest.json"


@contextmanager
def workspace() -> Iterator[Path]:
    """A folder for one dbt command, in the only writable place; it stays if the command fails, as evidence."""
    folder = Path(tempfile.mkdtemp(prefix="dbt-"))
    parsed = prepared() / PARTIAL_PARSE
    if parsed.is_file():
        shutil.copy(parsed, folder / PARTIAL_PARSE)  # dbt then parses nothing: the image has done it
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def _is_stale(made: Path) -> bool:
    if not made.is_file():
        return True
    return any(source.stat().st_mtime > made.stat().st_mtime for source in _sources())


def _sources() -> Sequence[Path]:
    return [
        path
        for path in DIRECTORY.rglob("*")
        if path.suffix in {".sql", ".yml", ".csv"} and PREPARED not in path.parents
    ]
