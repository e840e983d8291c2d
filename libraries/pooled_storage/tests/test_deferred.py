"""No process imports Alembic to open the storage; what needs it finds it whole."""

import subprocess
import sys
from pathlib import Path

OPENED = """
import sys
import pooled_storage
assert not {"alembic", "mako"} & set(sys.modules), "imported by opening the storage"
"""
MIGRATED = """
from dagster import DagsterInstance
from dagster_postgres.utils import pg_alembic_config
storage = DagsterInstance.local_temp(sys.argv[1])._event_storage
at, head = storage.alembic_version()
assert at == head and head, (at, head)
config = pg_alembic_config(sys.argv[2])
assert config.get_main_option("script_location").startswith("dagster:")
import alembic.command
assert callable(alembic.command.upgrade) and alembic.__file__
"""


def run(source: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", source, *arguments], capture_output=True, text=True, timeout=120)


def test_opening_the_storage_imports_no_migrations() -> None:
    done = run(OPENED)
    assert done.returncode == 0, done.stderr


def test_revisions_are_read_and_written_with_alembic_itself(tmp_path: Path) -> None:
    import dagster_postgres.run_storage.run_storage as storage

    done = run(OPENED + MIGRATED, str(tmp_path), str(storage.__file__))
    assert done.returncode == 0, done.stderr


def test_what_was_imported_before_stays_what_it_was() -> None:
    done = run("import alembic.config, pooled_storage, sys; assert sys.modules['alembic.config'] is alembic.config")
    assert done.returncode == 0, done.stderr
