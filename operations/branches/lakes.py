"""Zero-copy clones of lakes: the catalog is copied, the files stay production's, mounted read-only."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from operations import external
from operations.branches import postgres
from operations.context import Context
from operations.errors import StackError

LAKES = "/var/lib/lake"
PRODUCTION = "/var/lib/production"
# Each file by its whole path, where production's volume is mounted; new files go to data_path, which is the branch's
# own volume. A table that was renamed has several rows, all with the path of its folder.
CLONE = """
DO $clone$
DECLARE
    base CONSTANT text := {base};
    there CONSTANT text := {there};
    strange text;
BEGIN
    IF to_regclass('public.ducklake_metadata') IS NULL THEN
        RETURN;
    END IF;
    {updates}
    DELETE FROM ducklake_files_scheduled_for_deletion;
    SELECT path INTO strange FROM (
        SELECT path, path_is_relative FROM ducklake_data_file
        UNION ALL SELECT path, path_is_relative FROM ducklake_delete_file
    ) AS files WHERE path_is_relative OR NOT starts_with(path, there) LIMIT 1;
    IF strange IS NOT NULL THEN
        RAISE EXCEPTION 'the file % of the clone is not below %', strange, there;
    END IF;
END
$clone$;
"""
WHOLE = "CASE WHEN f.path_is_relative THEN folder.path || f.path ELSE f.path END"
UPDATE = """
    UPDATE {table} AS f SET path_is_relative = false, path = there || substr({whole}, length(base) + 1)
    FROM (
        SELECT DISTINCT t.table_id, CASE
            WHEN NOT t.path_is_relative THEN t.path
            WHEN s.path_is_relative THEN base || s.path || t.path
            ELSE s.path || t.path END AS path
        FROM ducklake_table AS t JOIN ducklake_schema AS s USING (schema_id)
    ) AS folder
    WHERE folder.table_id = f.table_id AND starts_with({whole}, base);"""
# A location that has stored nothing yet has no catalog.
DATA_PATH = r"""
SELECT to_regclass('public.ducklake_metadata') IS NOT NULL AS stored \gset
\if :stored
SELECT value FROM ducklake_metadata WHERE key = 'data_path' AND scope IS NULL;
\endif
"""


@dataclass(frozen=True)
class Lake:
    """One location's lake in production."""

    location: str
    volume: str

    @property
    def database(self) -> str:
        """Its catalog."""
        return f"lake_{self.location}"


def of(config: dict[str, Any]) -> list[Lake]:
    """The lakes of a deployment, by the volume that each code location writes to."""
    found = []
    for name, spec in config["services"].items():
        if "code-location" in (spec.get("labels") or {}):
            own = next((mount for mount in mounts(spec) if mount["target"] == f"{LAKES}/{name}"), None)
            if own is not None:
                found.append(Lake(name, str(config["volumes"][own["source"]]["name"])))
    return found


def mounts(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """The lakes' volumes that a service has."""
    volumes = [mount for mount in spec.get("volumes") or () if mount.get("type") == "volume"]
    return [mount for mount in volumes if str(mount["target"]).startswith(f"{LAKES}/")]


def require_files(origin: Context, server: str, lakes: Iterable[Lake]) -> None:
    """A clone shares files in a volume: a lake elsewhere, in S3, would need rights on production's bucket."""
    for store in external.stores(origin):
        if store.what == "lakes":
            raise StackError(
                f"the lakes of {origin.deployment.name} are in the bucket {store.values['LAKE_S3_BUCKET']}",
                "lakes in volumes of this machine, which a branch mounts read-only: it gets no key of production's",
                "try the change on a deployment with data of its own (docs/object-storage.md)",
            )
    for lake in lakes:
        rows = postgres.ask(origin, server, lake.database, DATA_PATH, lake.location)
        for (path,) in rows[:1]:
            if path != f"{LAKES}/{lake.location}/":
                raise StackError(
                    f"the lake of {lake.location} has its files in {path}",
                    f"{LAKES}/{lake.location}/, a volume of this machine: a branch mounts it read-only",
                    f"try the change of {lake.location} on a deployment with data of its own",
                )


def clone(branch: Context, source: str, target: str, lake: Lake) -> None:
    """Copy a lake's catalog from one Postgres to another and point it to production's files."""
    database, owner = lake.database, lake.location
    branch.executor.run(
        postgres.pipe(postgres.dump(source, database, owner), postgres.restore(target, database, owner))
    )
    branch.executor.run(postgres.psql(target, database, role=owner), stdin=statements(lake), timeout=600)


def statements(lake: Lake) -> str:
    """What makes a copy of a catalog a clone."""
    return CLONE.format(
        base=postgres.literal(f"{LAKES}/{lake.location}/"),
        there=postgres.literal(f"{PRODUCTION}/{lake.location}/"),
        updates="".join(
            UPDATE.format(table=table, whole=WHOLE) for table in ("ducklake_data_file", "ducklake_delete_file")
        ),
    )
