"""The folder of a new location: files from a template, and the lock of what they need."""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from string import Template

from operations.context import Context
from operations.errors import StackError
from operations.library import index
from operations.testing import environments

TEMPLATES = Path(__file__).with_name("templates")
# In the paths of a template: the location's name. In its files: $name and so on.
NAME = "NAME"
SUFFIX = ".tmpl"
# As the header of every lock of this repository has it, whatever index it was made from.
LOCK = (
    "uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links"
    " --find-links ../../libraries/index pyproject.toml -o requirements.lock"
)


@dataclass(frozen=True)
class Wish:
    """What somebody asks for."""

    name: str
    like: str = "team"
    image: str = ""
    owner: str = ""
    reads: tuple[str, ...] = ()
    internet: bool = False

    @property
    def team(self) -> str:
        """The group of its editors and the team of its assets."""
        return self.owner or self.name


def patterns() -> list[str]:
    """What --like knows."""
    return sorted([path.name for path in TEMPLATES.iterdir() if path.is_dir()] + ["image"])


def write(folder: Path, wish: Wish, root: Path) -> None:
    """Make the files of a location."""
    values = {**versions(root), "name": wish.name, "team": wish.team, "attach": _attached(wish)}
    source = TEMPLATES / wish.like
    for path in sorted(source.rglob(f"*{SUFFIX}")):
        relative = str(path.relative_to(source)).removesuffix(SUFFIX).replace(NAME, wish.name)
        target = folder / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(Template(path.read_text(encoding="utf-8")).substitute(values), encoding="utf-8")


def _attached(wish: Wish) -> str:
    """The lakes that a template may name in a list of its own language."""
    return "".join(f'"{name}", ' for name in wish.reads).removesuffix(" " if len(wish.reads) == 1 else ", ")


def versions(root: Path) -> dict[str, str]:
    """Versions that a location shares with the deployment, and the newest release of the library."""
    pins = deployments_pins(root)
    wheels = (re.match(r"platform_kit-([0-9.]+)-", path.name) for path in (root / "libraries" / "index").glob("*.whl"))
    released = [match[1] for match in wheels if match]
    if not released:
        raise StackError("libraries/index has no release of platform_kit", "a wheel", "./stack library release")
    return {
        "dagster": pins["dagster"],
        "integrations": pins["dagster-postgres"],
        "kit": max(released, key=lambda version: tuple(map(int, version.split(".")))),
    }


def deployments_pins(root: Path) -> dict[str, str]:
    """Exact versions of what runs beside the locations, and has to be the same in them."""
    project = tomllib.loads((root / "daemon" / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return dict(line.split("==") for line in project["dependencies"] if "==" in line)


def lock(context: Context, folder: Path) -> None:
    """Resolve what the location needs; the only part that asks a package index."""
    options = LOCK.removeprefix("uv ").split()
    env = {**environments.UV, **index.variables(context.deployment), "UV_CUSTOM_COMPILE_COMMAND": LOCK}
    args = [environments.uv(), "--directory", str(folder), *options, "--quiet"]
    result = context.executor.run(args, env=env, check=False, timeout=600)
    if not result.ok:
        raise StackError(
            f"the dependencies of {folder.name} cannot be resolved: {result.last_words}",
            "a package index that answers (PACKAGE_INDEX in .env, or the installer's default)",
            "make the index reachable and repeat; nothing was changed",
        )
