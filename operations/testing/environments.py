"""Environments that suites run in: made from locks with hashes required, again when a lock changes."""

import hashlib
import re
import shutil
import sys
from pathlib import Path

from operations.context import Context
from operations.library import index
from operations.testing.suites import SHARED, TOOLS

# As in the images: the host's trust store, no interpreter from elsewhere, files that can outlive uv's cache.
UV = {"UV_SYSTEM_CERTS": "1", "UV_PYTHON_DOWNLOADS": "never", "UV_HTTP_TIMEOUT": "180", "UV_LINK_MODE": "copy"}


def provide(context: Context, lock: str) -> Path:
    """The environment of a lock file; returns its directory."""
    root = context.deployment.root
    target = directory(root, lock)
    stamp, wanted = target / "lock.sha256", checksum(root, lock)
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return target
    with context.report.step(f"Make the test environment of {lock.removesuffix('/requirements.lock')}") as step:
        shutil.rmtree(target, ignore_errors=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        run, env = context.executor.stream, {**UV, **index.variables(context.deployment)}
        run(create(target), step.update, env=env)
        run(install(target, root / lock, root), step.update, env=env)
        if lock != SHARED:
            tools = target / "tools.lock"
            tools.write_text(without(_text(root / TOOLS), names(_text(root / lock))), encoding="utf-8")
            # Without dependencies: the tools' own are all in their lock, the location's pins stay as they are.
            run([*install(target, tools, root), "--no-deps"], step.update, env=env)
        target.mkdir(exist_ok=True)
        stamp.write_text(wanted, encoding="utf-8")
    return target


def directory(root: Path, lock: str) -> Path:
    """Where the environment of a lock is."""
    if lock == SHARED:
        return root / "tests" / ".venv"
    return root / ".stack" / "environments" / lock.removesuffix("/requirements.lock").replace("/", "-")


def checksum(root: Path, lock: str) -> str:
    """Of all that goes into an environment, the interpreter included."""
    digest = hashlib.sha256(f"{sys.version_info[:2]}".encode())
    for path in [root / lock, *([root / TOOLS] if lock != SHARED else [])]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def create(target: Path) -> list[str]:
    """A new, empty environment with the interpreter that runs ./stack."""
    return [uv(), "venv", "--quiet", "--python", sys.executable, str(target)]


def install(target: Path, lock: Path, root: Path) -> list[str]:
    """Install a lock. Released wheels of the shared library come from the repository itself."""
    index = root / "libraries" / "index"
    return [
        *(uv(), "pip", "install", "--quiet", "--python", str(target), "--require-hashes"),
        *(["--find-links", str(index)] if index.is_dir() else []),
        *("--requirement", str(lock)),
    ]


def names(lock: str) -> set[str]:
    """Names of the packages in a lock."""
    return set(re.findall(r"^([a-z0-9][a-z0-9._-]*)==", lock, re.MULTILINE))


def without(lock: str, dropped: set[str]) -> str:
    """A lock less some packages, each with its hashes and comments."""
    entries = re.split(r"^(?=[a-z0-9])", lock, flags=re.MULTILINE)
    return "".join(entry for entry in entries if not names(entry) & dropped)


def uv() -> str:
    """The uv of this command's own environment."""
    return str(Path(sys.prefix) / "bin" / "uv")


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")
