"""A component with state: an asset for each table that the source database has.

Which tables there are is not in the code but in the source, and definitions must load without it. So the catalogue is
read when somebody says so (a refresh), kept in versions, and definitions are made from the version in force.
"""

import asyncio
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import dagster as dg
from dagster._core.definitions.definitions_load_context import DefinitionsLoadContext
from dagster._core.storage.defs_state.base import set_defs_state_storage
from dagster.components import DefsStateConfig
from dagster_shared.serdes.objects.models.defs_state_info import DefsStateManagementType

from ingestion.components import catalogue, snapshots
from ingestion.components.refreshing import refreshing, told
from ingestion.components.versions import VersionsInFolder, new_version, written
from platform_kit import environment
from platform_kit.database import Database

# Not in a Parquet file's place: DuckLake's clean-up of files it does not know takes *.parquet alone.
_FOLDER = ".definitions"


@dataclass(frozen=True)
class Refreshed:
    """What a refresh found: the version in force now, the tables that are new, gone or other, and those left out."""

    version: str
    new: list[str]
    gone: list[str]
    changed: list[str]
    skipped: dict[str, str]

    @property
    def is_other(self) -> bool:
        """Whether the definitions are others now."""
        return bool(self.new or self.gone or self.changed)


class SourceTables(dg.StateBackedComponent, dg.Model, dg.Resolvable):
    """One raw asset a table of a source database, with the job that reads the database's catalogue anew."""

    # The source's name: the first part of its tables' own asset keys.
    source: str
    # The location's resource that reads it, a platform_kit Database.
    database: str
    # The schema there whose tables become assets, and where they land in the lake.
    source_schema: str
    lake_schema: str
    # Tables that are loaded in another way, or not at all; `*` stands for anything.
    exclude: list[str] = []  # noqa: RUF012  a pydantic field
    owners: list[str]
    # When the catalogue is read, once somebody has turned the schedule on.
    refresh: str

    @property
    def location(self) -> str:
        """The code location: the first part of the assets' keys."""
        return environment.current("ingestion").code_location

    @property
    def defs_state_config(self) -> DefsStateConfig:
        """Versions; and no refresh by itself while developing, for the source may be away there too."""
        return DefsStateConfig(
            key=f"{self.location}/{self.lake_schema}",
            management_type=DefsStateManagementType.VERSIONED_STATE_STORAGE,
            refresh_if_dev=False,
        )

    @cached_property
    def storage(self) -> VersionsInFolder:
        """Where the versions are, whatever the instance says: a location of the deployment has none of its own."""
        return VersionsInFolder(environment.current("ingestion").lake_data_path() / _FOLDER)

    def write_state_to_path(self, state_path: Path) -> None:
        """Read the source's catalogue, with the location's own resource."""
        from ingestion.defs.resources import resources

        self._write(state_path, (resources().resources or {})[self.database])

    async def refresh_state(self, project_root: Path) -> str:
        """As Dagster asks for it: `dg utils refresh-defs-state`, or "Refresh" on the component in the UI."""
        del project_root
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "state"
            await asyncio.to_thread(self.write_state_to_path, path)
            return self._keep(path).version

    def refresh_from(self, database: Database) -> Refreshed:
        """Read the catalogue and put it in force; a catalogue that is the same makes no new version."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "state"
            self._write(path, database)
            return self._keep(path)

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The definitions of the version in force; in a run, those of the version that the run was launched with."""
        key, load = self.defs_state_config.key, DefinitionsLoadContext.get()
        with set_defs_state_storage(self.storage):
            version = self.storage.get_latest_version(key)
            if version and load.get_defs_key_state_info(key) is None:
                load.add_defs_state_info(key, version, written(version).timestamp())
            return super().build_defs(context)

    def build_defs_from_state(self, context: dg.ComponentLoadContext, state_path: Path | None) -> dg.Definitions:
        """An asset, a check and a source a table; without any state, only the job that gets one."""
        del context
        if state_path is None:
            return refreshing(self, f"No catalogue of {self.source} was read yet, so no table of it is an asset here.")
        try:
            tables, skipped = self._named(state_path.read_text(encoding="utf-8"))
        except (ValueError, KeyError, TypeError) as error:
            # Not an error of the location: then nobody could launch the job that mends it.
            return refreshing(self, f"The stored catalogue cannot be read ({error!r}), so no table is an asset here.")
        description = f"{len(tables)} tables of {self.source}.{self.source_schema} are assets here."
        if skipped:
            description += f" Left out: {told(skipped)}."
        return dg.Definitions.merge(refreshing(self, description), snapshots.of(self, tables))

    def _write(self, path: Path, database: Database) -> None:
        path.write_text(catalogue.to_json(catalogue.read(database, self.source_schema)), encoding="utf-8")

    def _named(self, content: str) -> tuple[list[catalogue.NamedTable], dict[str, str]]:
        return catalogue.with_plain_names(catalogue.from_json(content), self.exclude)

    def _keep(self, path: Path) -> Refreshed:
        key, content = self.defs_state_config.key, path.read_text(encoding="utf-8")
        version = self.storage.get_latest_version(key)
        before = self.storage.read(key, version) if version else ""
        if version is None or before != content:
            version = new_version(content)
            self.storage.upload_state_from_path(key, version, path)
        try:
            old = {table.name: table for table in self._named(before)[0]}
        except (ValueError, KeyError, TypeError):  # none, or one that cannot be read
            old = {}
        tables, skipped = self._named(content)
        new = {table.name: table for table in tables}
        return Refreshed(
            version,
            new=sorted(new.keys() - old.keys()),
            gone=sorted(old.keys() - new.keys()),
            changed=sorted(name for name in old.keys() & new.keys() if old[name] != new[name]),
            skipped=skipped,
        )
