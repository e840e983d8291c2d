""".env, .env.example and the variables of the Compose files: three lists of the same names."""

import itertools
import re
from pathlib import Path

from operations import environment_file
from operations.checking.problems import Problem
from operations.deployment import Deployment
from operations.errors import StackError

# $$ is Compose's way to write a dollar sign that is none of its variables.
VARIABLE = re.compile(r"(?<!\$)(?:\$\$)*\$(?:\{([A-Za-z_][A-Za-z0-9_]*)|([A-Za-z_][A-Za-z0-9_]*))")
# Read by Compose or ./stack itself; or set by Compose, never in .env.
NOT_INTERPOLATED = {
    "COMPOSE_FILE",
    *("BRANCH_MEMORY_MB", "BRANCH_DAYS", "BRANCH_SECRETS", "BRANCH_BIND", "BRANCH_NETWORKS"),
    *("RECONCILE_BRANCH", "RECONCILE_SIGNERS", "RECONCILE_SETTINGS"),
}
NOT_SETTINGS = {"COMPOSE_PROJECT_NAME"}


def check(deployment: Deployment) -> list[Problem]:
    """All differences between the three."""
    problems: list[Problem] = []
    example = _parse(deployment.example, deployment.example.name, problems)
    used = variables(compose_files(deployment.root))
    for name, (file, line) in used.items():
        if example and name not in example and name not in NOT_SETTINGS:
            problems.append(Problem(file, line, f"uses {name}, which .env.example does not document"))
    for name, setting in (example or {}).items():
        if name not in used and name not in NOT_INTERPOLATED:
            problems.append(Problem(".env.example", setting.line, f"{name} is used by no Compose file"))
        if not setting.comment and not _shares_comment(deployment.example, setting.line):
            problems.append(Problem(".env.example", setting.line, f"{name} has no comment"))
    if deployment.env_file.exists():
        problems += _env(deployment, example or {})
    return problems


def _env(deployment: Deployment, example: dict[str, environment_file.Setting]) -> list[Problem]:
    problems: list[Problem] = []
    shown = deployment.shown(deployment.env_file)
    present = _parse(deployment.env_file, shown, problems)
    if present is None:
        return problems
    for name in example:
        if name not in present:
            problems.append(Problem(shown, None, f"{name} is missing; {deployment.stack} up appends it"))
    for name, setting in present.items():
        if name not in example and not name.startswith("COMPOSE_"):
            problems.append(Problem(shown, setting.line, f"unknown setting {name}; .env.example has all that exist"))
    return problems


def compose_files(root: Path) -> list[Path]:
    """The base and every overlay, used or not: a setting of an unused overlay is a setting all the same."""
    return [root / "docker-compose.yml", *sorted((root / "deploy" / "overlays").glob("*.yml"))]


def variables(files: list[Path]) -> dict[str, tuple[str, int]]:
    """Every variable that Compose interpolates, with the first place that uses it."""
    found: dict[str, tuple[str, int]] = {}
    for path in files:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if line.lstrip().startswith("#"):
                continue
            for match in VARIABLE.finditer(line):
                found.setdefault(match[1] or match[2], (path.name, number))
    return found


def _parse(path: Path, name: str, problems: list[Problem]) -> dict[str, environment_file.Setting] | None:
    try:
        return environment_file.parse(path.read_text(encoding="utf-8"), name)
    except OSError as error:
        problems.append(Problem(name, None, f"cannot be read: {error.strerror}"))
    except StackError as error:
        # The message has the place already, as file:line.
        match = re.match(r".*?:(\d+): (.*)", error.found, re.DOTALL)
        problems.append(Problem(name, int(match[1]), match[2]) if match else Problem(name, None, error.found))
    return None


def _shares_comment(path: Path, line: int) -> bool:
    """Settings in one block, without an empty line between, share the comment above the first."""
    lines = path.read_text(encoding="utf-8").splitlines()[: line - 1]
    block = itertools.takewhile(str.strip, reversed(lines))
    return any(text.startswith("#") for text in block)
