"""The sample's Postgres: make and fill the cluster once, set the reader's password, become the server.

The superuser never logs in: the cluster is filled in single-user mode and pg_hba.conf lets the reader alone connect.
"""

import os
import shutil
import subprocess
from pathlib import Path

from sample_source import settings
from sample_source.tables import MISSING, TABLES, Table, header

BINARIES = Path("/usr/lib/postgresql/17/bin")
CLUSTER = Path("/var/lib/postgresql/cluster")
CONFIGURATION = Path("/app")
DATABASE, READER = "flight_operations", "flight_reader"


def literal(text: str) -> str:
    """A SQL string literal, whatever the text holds."""
    if "\0" in text or "\n" in text:
        raise SystemExit("The secret sample_source_database_password must be one line of text.")
    return "'" + text.replace("'", "''") + "'"


def create_table(table: Table, directory: Path) -> list[str]:
    """The statements that make and fill one table, keys after the rows because that is faster."""
    columns = ", ".join(f"{name} {table.columns[name]}" for name in header(directory, table))
    source = literal(str(directory / f"{table.name}.csv"))
    return [
        "BEGIN",  # in one transaction with CREATE TABLE, COPY writes no WAL (wal_level = minimal)
        f"CREATE TABLE public.{table.name} ({columns})",
        f"COPY public.{table.name} FROM {source} WITH (FORMAT csv, HEADER match, NULL {literal(MISSING)})",
        f"ALTER TABLE public.{table.name} ADD PRIMARY KEY ({', '.join(table.primary_key)})",
        *(f"CREATE INDEX ON public.{table.name} ({', '.join(index)})" for index in table.indexes),
        "COMMIT",
        f"ANALYZE public.{table.name}",
    ]


def fill(directory: Path) -> list[str]:
    """The statements that fill the new database and let the reader read, nothing else."""
    return [
        *(statement for table in TABLES.values() for statement in create_table(table, directory)),
        f"CREATE ROLE {READER} LOGIN CONNECTION LIMIT 40",
        f"ALTER ROLE {READER} SET default_transaction_read_only = on",
        f"REVOKE ALL ON DATABASE {DATABASE} FROM PUBLIC",
        f"GRANT CONNECT ON DATABASE {DATABASE} TO {READER}",
        "REVOKE ALL ON SCHEMA public FROM PUBLIC",
        f"GRANT USAGE ON SCHEMA public TO {READER}",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {READER}",
    ]


def run_single_user(cluster: Path, database: str, statements: list[str]) -> None:
    """Run statements with no server and no login; the first error ends it (it would otherwise go on and exit 0)."""
    command = [
        *(str(BINARIES / "postgres"), "--single", "-j", "-D", str(cluster)),
        *("-c", f"config_file={CONFIGURATION / 'postgresql.conf'}", "-c", "exit_on_error=on", database),
    ]
    script = "".join(f"{statement};\n\n" for statement in statements)
    # Its prompt goes nowhere; errors go to standard error, which never shows a statement (log_min_error_statement).
    subprocess.run(command, input=script, text=True, check=True, stdout=subprocess.DEVNULL)


def make_cluster(directory: Path) -> None:
    """Make the cluster beside its place and rename it when it is whole: half of one is never served."""
    unfinished = CLUSTER.with_name("unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    subprocess.run(
        [
            *(str(BINARIES / "initdb"), "-D", str(unfinished), "--username=postgres", "--auth=scram-sha-256"),
            *("--pwfile=/dev/stdin", "--encoding=UTF8", "--locale=C.UTF-8", "--data-checksums", "--no-sync"),
        ],
        input=os.urandom(32).hex(),  # nobody learns it, and pg_hba.conf has no line for it either
        text=True,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    run_single_user(unfinished, "postgres", [f"CREATE DATABASE {DATABASE}"])
    run_single_user(unfinished, DATABASE, fill(directory))
    unfinished.rename(CLUSTER)


def main() -> None:
    """Prepare the cluster, then become Postgres."""
    password = settings.secret("sample_source_database_password")
    if not CLUSTER.exists():
        make_cluster(settings.data_directory())
    run_single_user(CLUSTER, DATABASE, [f"ALTER ROLE {READER} PASSWORD {literal(password)}"])
    server = BINARIES / "postgres"
    options = [f"-cconfig_file={CONFIGURATION / 'postgresql.conf'}", f"-chba_file={CONFIGURATION / 'pg_hba.conf'}"]
    os.execv(server, [str(server), "-D", str(CLUSTER), *options])  # noqa: S606


if __name__ == "__main__":
    main()
