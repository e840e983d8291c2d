"""Tables of the source that nobody wired: found by a refresh, loaded as they are, kept in versions."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.definitions_load_context import DefinitionsLoadContext, DefinitionsLoadType
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.definitions.repository_definition import RepositoryLoadData
from dagster._core.execution.api import execute_run_iterator
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from ingestion.components import SourceTables, catalogue
from ingestion.components.versions import KEPT, UnknownVersionError, VersionsInFolder, new_version
from ingestion.definitions import definitions

from platform_kit.embedded import EmbeddedDatabase
from platform_kit.lake import LakeIOManager, LakeResource

KEY = "ingestion/source"
# Dagster's own: it makes anew the checks of a component that stands in YAML.
pytestmark = pytest.mark.filterwarnings("ignore:Parameter `execution_type`")


class Source:
    """The embedded source, with tables of a test's own."""

    def __init__(self, database: EmbeddedDatabase) -> None:
        self.database = database

    def sql(self, *statements: str) -> None:
        with self.database.connect() as connection:
            for statement in statements:
                connection.execute(statement)


@pytest.fixture
def changing(source: EmbeddedDatabase) -> Source:
    return Source(source)


@pytest.fixture
def component(lake: LakeResource) -> SourceTables:
    return SourceTables(
        source="flight_operations",
        database="source_database",
        source_schema="public",
        lake_schema="source",
        exclude=["flights", "weather"],
        owners=["team:data-engineers"],
        refresh="30 5 * * *",
    )


@pytest.fixture
def loaded(component: SourceTables, source: EmbeddedDatabase, lake: LakeResource) -> Callable[[], dg.Definitions]:
    """What the component makes of its state now, with the embedded source."""
    resources = {"source_database": source, "lake": lake, "io_manager": LakeIOManager(code_location="ingestion")}

    def load() -> dg.Definitions:
        found = component.build_defs(dg.ComponentTree.for_test().load_context)
        return dg.Definitions.merge(found, dg.Definitions(resources=resources, executor=dg.in_process_executor))

    return load


@pytest.fixture
def launch(loaded: Callable[[], dg.Definitions]) -> Callable[..., dg.ExecuteInProcessResult]:
    """Run a job as it is loaded now."""

    def execute(job: str, **config: Any) -> dg.ExecuteInProcessResult:
        with dg.DagsterInstance.ephemeral() as instance:
            ops = {"ops": {"choose_source_catalogue": {"config": config}}} if config else {}
            return loaded().resolve_job_def(job).execute_in_process(instance=instance, run_config=ops)

    return execute


def tables(found: dg.Definitions) -> set[str]:
    keys = found.resolve_asset_graph().materializable_asset_keys
    return {key.path[-1] for key in keys if key.path[1] == "source"}


def materialise(found: dg.Definitions, table: str) -> dg.ExecuteInProcessResult:
    selection = dg.AssetSelection.assets(dg.AssetKey(["ingestion", "source", table])).required_multi_asset_neighbors()
    with_job = dg.Definitions.merge(found, dg.Definitions(jobs=[dg.define_asset_job("load", selection=selection)]))
    with dg.DagsterInstance.ephemeral() as instance:
        return with_job.resolve_job_def("load").execute_in_process(instance=instance)


def test_before_the_first_refresh_there_is_no_such_asset_and_the_job_says_what_to_do(
    loaded: Callable[[], dg.Definitions],
) -> None:
    found = loaded()
    assert tables(found) == set()
    description = found.resolve_job_def("refresh_source_tables").description
    assert description == (
        "No catalogue of flight_operations was read yet, so no table of it is an asset here. "
        "Launch this job to read the source's catalogue: tables that are new there become assets."
    )


def test_a_new_table_is_an_asset_after_a_refresh_and_not_before(
    loaded: Callable[[], dg.Definitions], launch: Callable[..., dg.ExecuteInProcessResult], changing: Source
) -> None:
    launch("refresh_source_tables")
    changing.sql("CREATE TABLE public.gates (gate VARCHAR NOT NULL, terminal INTEGER)")
    assert tables(loaded()) == set(), "what is in the source changes nothing by itself, and no table is there twice"
    launch("refresh_source_tables")
    assert tables(loaded()) == {"gates"}
    loaded().get_repository_def().load_all_definitions()  # as a code server does: here it finds two of one name
    changing.sql("DROP TABLE public.gates")
    assert tables(loaded()) == {"gates"}
    launch("refresh_source_tables")
    assert tables(loaded()) == set()


def test_a_table_is_loaded_whole_with_its_columns_rows_and_check(
    loaded: Callable[[], dg.Definitions],
    launch: Callable[..., dg.ExecuteInProcessResult],
    changing: Source,
    lake: LakeResource,
) -> None:
    changing.sql(
        "CREATE TABLE public.gates (gate VARCHAR NOT NULL, terminal INTEGER)",
        "INSERT INTO public.gates VALUES ('A1', 1), ('B22', 4), ('C3', NULL)",
    )
    launch("refresh_source_tables")
    result = materialise(loaded(), "gates")
    assert lake.query("FROM ingestion.ada_source.gates ORDER BY ALL").rows() == [("A1", 1), ("B22", 4), ("C3", None)]
    (materialisation,) = result.asset_materializations_for_node("ingestion__source__gates")
    assert materialisation.metadata["dagster/row_count"].value == 3
    assert "lake/preview" not in materialisation.metadata, "rows that nobody looked at stay out of the event log"
    (check,) = result.get_asset_check_evaluations()
    assert (check.check_name, check.passed) == ("as_many_rows_as_the_source", True)
    changing.sql("DELETE FROM public.gates WHERE gate = 'A1'")
    assert materialise(loaded(), "gates").success
    assert lake.query("SELECT count(*) FROM ingestion.ada_source.gates").item() == 2, "a snapshot, not an addition"


def test_an_asset_says_what_it_is_whose_and_where_it_comes_from(
    loaded: Callable[[], dg.Definitions], launch: Callable[..., dg.ExecuteInProcessResult], changing: Source
) -> None:
    changing.sql('CREATE TABLE public.gates (gate VARCHAR NOT NULL, "Terminal No" DECIMAL(6, 2))')
    launch("refresh_source_tables")
    (spec,) = [spec for spec in loaded().resolve_all_asset_specs() if spec.key.path[1] == "source"]
    assert spec.key.path == ["ingestion", "source", "gates"]
    assert spec.owners == ["team:data-engineers"]
    assert spec.description == "public.gates of flight_operations, as it was when it was last loaded"
    assert spec.group_name == "source_tables"
    assert [dep.asset_key.path for dep in spec.deps] == [["flight_operations", "public", "gates"]]
    columns = [
        (c.name, c.type, c.description, c.constraints.nullable) for c in spec.metadata["dagster/column_schema"].columns
    ]
    assert columns == [
        ("gate", "varchar", None, False),
        ("terminal_no", "numeric(6,2)", "'Terminal No' in the source", True),
    ]


HOSTILE = {
    'CREATE TABLE public."Order Items" ("Id" INTEGER, "ORDER" VARCHAR, "select" VARCHAR)': "order_items",
    'CREATE TABLE public."x""; DROP TABLE public.flights; --" (id INTEGER)': "x_drop_table_public_flights",
    'CREATE TABLE public."it\'s" (id INTEGER, "a""b" INTEGER, "100%s" INTEGER, "naïve ✈ col" INTEGER)': None,
    'CREATE TABLE public."Überfälle" (id INTEGER, "a"";DROP SCHEMA public CASCADE;--" INTEGER)': "uberfalle",
    "CREATE TABLE public.wide (" + ", ".join(f'"Column {n}" INTEGER' for n in range(200)) + ")": "wide",
    'CREATE TABLE public."日本" (id INTEGER)': None,
    'CREATE TABLE public."1st" (id INTEGER)': None,
    'CREATE TABLE public."Wide" (id INTEGER)': None,
    'CREATE TABLE public.twice ("a b" INTEGER, "a_b" INTEGER)': None,
    'CREATE TABLE public.parameter ("%(schema)s" INTEGER)': None,
}
LEFT_OUT = {
    "it's": "columns without a plain name: '100%s'",
    "日本": "its name has no letter to begin with, or is longer than 63 characters",
    "1st": "its name has no letter to begin with, or is longer than 63 characters",
    "Wide": "its name would be wide, as that of 'wide' is",
    "twice": "columns with the same plain name: 'a b', 'a_b'",
    "parameter": "'%(' in a name cannot be told from a parameter of a query",
}


@pytest.fixture
def hostile(changing: Source) -> Source:
    for statement in HOSTILE:
        # DuckDB's names are the same in any case; in a source they are not.
        if '"Wide"' not in statement:
            changing.sql(statement)
    return changing


def test_hostile_names_become_plain_ones_and_load(
    loaded: Callable[[], dg.Definitions],
    launch: Callable[..., dg.ExecuteInProcessResult],
    hostile: Source,
    lake: LakeResource,
) -> None:
    hostile.sql("INSERT INTO public.\"Order Items\" VALUES (1, 'it''s', '\"; DROP TABLE x; --')")
    launch("refresh_source_tables")
    assert tables(loaded()) == {name for name in HOSTILE.values() if name}
    for name in ("order_items", "x_drop_table_public_flights", "uberfalle", "wide"):
        assert materialise(loaded(), name).success, name
    assert lake.query("FROM ingestion.ada_source.order_items").to_dicts() == [
        {"id": 1, "order": "it's", "select": '"; DROP TABLE x; --'}
    ]
    assert lake.query("FROM ingestion.ada_source.wide").columns == [f"column_{n}" for n in range(200)]
    assert lake.query("FROM ingestion.ada_source.uberfalle").columns == ["id", "a_drop_schema_public_cascade"]
    assert hostile.database.query("SELECT count(*) FROM public.flights").item() > 0


def test_what_cannot_be_named_is_left_out_and_said(
    launch: Callable[..., dg.ExecuteInProcessResult],
    loaded: Callable[[], dg.Definitions],
    hostile: Source,
    capfd: pytest.CaptureFixture[str],
) -> None:
    launch("refresh_source_tables")
    warnings = [line for line in capfd.readouterr().err.splitlines() if " - WARNING - " in line]
    description = loaded().resolve_job_def("refresh_source_tables").description or ""
    for name, reason in LEFT_OUT.items():
        if name != "Wide":
            assert any(f"Table {name!r} is left out: {reason}." in warning for warning in warnings), name
            assert f"{name!r}: {reason}" in description


def test_names_that_differ_in_case_alone_do_not_take_each_others_place() -> None:
    column = (catalogue.SourceColumn("id", "integer", True, ""),)
    found = [catalogue.SourceTable(name, "", column) for name in ("Wide", "WIDE", "wide", "Other")]
    named, skipped = catalogue.with_plain_names(found, exclude=["Oth*"])
    assert [(table.name, table.source.name) for table in named] == [("wide", "wide")]
    assert skipped == dict.fromkeys(("WIDE", "Wide"), LEFT_OUT["Wide"])


def test_an_endless_comment_with_control_characters_is_made_short_and_plain() -> None:
    class Talkative:
        def query(self, sql: str, parameters: object = None) -> Any:
            import polars

            names = ("table_name", "table_comment", "column_name", "column_type", "required", "column_comment")
            return polars.DataFrame(
                [("t", "a\x1b[31m\n" + "x" * 9000, "id", "integer", True, None)], names, orient="row"
            )

    (table,) = catalogue.read(Talkative(), "public")  # type: ignore[arg-type]
    assert len(table.comment) == 2000
    assert table.comment.startswith("a [31m x")


def test_a_location_loads_when_its_source_is_away(
    monkeypatch: pytest.MonkeyPatch, launch: Callable[..., dg.ExecuteInProcessResult], changing: Source
) -> None:
    changing.sql("CREATE TABLE public.gates (gate VARCHAR)")
    launch("refresh_source_tables")
    for name in ("HOST", "PORT", "NAME", "USER", "PASSWORD"):
        monkeypatch.delenv(f"SOURCE_DATABASE_{name}", raising=False)
    assert tables(definitions()) == {"gates"}


def test_a_refresh_without_the_source_fails_and_leaves_the_version_in_force(
    loaded: Callable[[], dg.Definitions], launch: Callable[..., dg.ExecuteInProcessResult], changing: Source
) -> None:
    changing.sql("CREATE TABLE public.gates (gate VARCHAR)")
    launch("refresh_source_tables")
    Path(changing.database.path).write_text("not a database")
    with pytest.raises(Exception, match="not a valid DuckDB database file"):
        launch("refresh_source_tables")
    assert tables(loaded()) == {"gates"}


@pytest.fixture
def versions(component: SourceTables) -> VersionsInFolder:
    return component.storage


def test_a_refresh_that_finds_nothing_new_makes_no_version(
    component: SourceTables, versions: VersionsInFolder, changing: Source
) -> None:
    first = component.refresh_from(changing.database)
    assert (first.new, first.is_other) == ([], False)
    assert component.refresh_from(changing.database).version == first.version
    assert versions.versions(KEY) == [first.version]
    changing.sql("CREATE TABLE public.gates (gate VARCHAR)")
    second = component.refresh_from(changing.database)
    assert second.new == ["gates"]
    changing.sql("ALTER TABLE public.gates ADD COLUMN terminal INTEGER")
    assert component.refresh_from(changing.database).changed == ["gates"]
    changing.sql("DROP TABLE public.gates")
    assert component.refresh_from(changing.database).gone == ["gates"]
    assert len(versions.versions(KEY)) == 4


def test_the_last_ten_versions_are_kept(component: SourceTables, versions: VersionsInFolder, changing: Source) -> None:
    made = []
    for number in range(KEPT + 3):
        changing.sql(f"CREATE TABLE public.table_{number} (id INTEGER)")
        made.append(component.refresh_from(changing.database).version)
    assert versions.versions(KEY) == made[-KEPT:]
    with pytest.raises(
        UnknownVersionError, match=f"ingestion/source has no version '{made[0]}': there are {made[3]}, "
    ):
        versions.set_latest_version(KEY, made[0])
    assert versions.get_latest_version(KEY) == made[-1]


def test_a_roll_back_goes_to_the_version_before_or_to_the_one_it_is_given(
    loaded: Callable[[], dg.Definitions], launch: Callable[..., dg.ExecuteInProcessResult], changing: Source,
    versions: VersionsInFolder,
) -> None:  # fmt: skip
    for name in ("one", "two", "three"):
        changing.sql(f"CREATE TABLE public.{name} (id INTEGER)")
        launch("refresh_source_tables")
    launch("roll_back_source_tables")
    assert tables(loaded()) == {"one", "two"}
    launch("roll_back_source_tables", version=versions.versions(KEY)[0])
    assert tables(loaded()) == {"one"}
    with pytest.raises(UnknownVersionError, match="has no version ''"):
        launch("roll_back_source_tables")
    launch("refresh_source_tables")
    assert tables(loaded()) == {"one", "two", "three"}


def test_a_run_has_the_tables_it_was_launched_with(component: SourceTables, changing: Source) -> None:
    changing.sql("CREATE TABLE public.one (id INTEGER)")
    component.refresh_from(changing.database)
    launched = DefinitionsLoadContext(DefinitionsLoadType.INITIALIZATION, RepositoryLoadData({}, {}))
    with DefinitionsLoadContext.scoped(launched):
        definitions()
    pinned = RepositoryLoadData({}, {}, launched.accessed_defs_state_info)
    changing.sql("DROP TABLE public.one", "CREATE TABLE public.two (id INTEGER)")
    component.refresh_from(changing.database)
    run = DefinitionsLoadContext(DefinitionsLoadType.RECONSTRUCTION, pinned)
    with DefinitionsLoadContext.scoped(run):
        assert tables(definitions()) == {"one"}
    assert tables(definitions()) == {"two"}


def test_dagsters_own_refresh_does_the_same(
    component: SourceTables, versions: VersionsInFolder, source: EmbeddedDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "ingestion.defs.resources.resources", lambda: dg.Definitions(resources={"source_database": source})
    )
    version = asyncio.run(component.refresh_state(Path()))
    assert versions.get_latest_version(KEY) == version
    assert {table["name"] for table in json.loads(versions.read(KEY, version))} == {"flights", "weather"}


def test_a_stored_catalogue_that_cannot_be_read_stops_nobody(
    loaded: Callable[[], dg.Definitions],
    launch: Callable[..., dg.ExecuteInProcessResult],
    changing: Source,
    versions: VersionsInFolder,
    tmp_path: Path,
) -> None:
    changing.sql("CREATE TABLE public.gates (gate VARCHAR)")
    (tmp_path / "state").write_text('[{"name": "gates"}]')
    versions.upload_state_from_path(KEY, new_version("x"), tmp_path / "state")
    assert tables(loaded()) == set()
    assert "cannot be read (KeyError" in (loaded().resolve_job_def("refresh_source_tables").description or "")
    launch("refresh_source_tables")
    assert tables(loaded()) == {"gates"}


def test_a_file_that_a_dead_writer_left_is_no_version(versions: VersionsInFolder, component: SourceTables) -> None:
    component.storage._folder.mkdir(parents=True)
    (component.storage._folder / "tmp1234").write_text("half")
    info = versions.get_latest_defs_state_info()
    assert info is not None
    assert info.info_mapping == {}
    assert versions.versions(KEY) == []


def test_a_code_server_ends_when_the_tables_are_others_so_that_it_is_started_again(
    loaded: Callable[[], dg.Definitions], changing: Source, lake: LakeResource
) -> None:
    changing.sql("CREATE TABLE public.gates (gate VARCHAR)")
    job = loaded().resolve_job_def("refresh_source_tables")
    with code_server() as (process, server), dg.DagsterInstance.ephemeral() as instance:
        origin = RemoteJobOrigin(RemoteRepositoryOrigin(server, "__repository__"), job.name)
        run = instance.create_run_for_job(job, remote_job_origin=origin)
        list(execute_run_iterator(InMemoryJob(job), run, instance))
        assert instance.get_run_record_by_id(run.run_id).dagster_run.is_success  # type: ignore[union-attr]
        assert process.wait(timeout=60) == 0


@contextmanager
def code_server() -> Iterator[tuple[subprocess.Popen[bytes], GrpcServerCodeLocationOrigin]]:
    """A code server as the images start it, and how a run knows it."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "dagster", "api", "grpc", "--lazy-load-user-code", "-h", "127.0.0.1"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    process = subprocess.Popen([*command, "-p", str(port), "-m", "ingestion.definitions"], env=environment)
    try:
        deadline = time.monotonic() + 90
        while not answers(port):
            assert process.poll() is None
            assert time.monotonic() < deadline, "the code server does not answer"
            time.sleep(0.1)
        yield process, GrpcServerCodeLocationOrigin(host="127.0.0.1", port=port, location_name="ingestion")
    finally:
        process.kill()
        process.wait()


def answers(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(autouse=True)
def own_load_context() -> Iterator[None]:
    """Each test's definitions are loaded for the first time: no version is pinned by another test."""
    with DefinitionsLoadContext.scoped(DefinitionsLoadContext(DefinitionsLoadType.INITIALIZATION)):
        DefinitionsLoadContext._instance = None
        yield
