from dataclasses import replace
from pathlib import Path

import pytest

from operations import lineage
from operations.checking.assets import Asset
from operations.errors import StackError
from operations.tests.fakes import Machine
from operations.verbs import lineage as verb

RAW = Asset("ingestion", ("ingestion", "raw", "flights"), deps=(("api", "flights"),), group="raw")
SOURCE = Asset("ingestion", ("api", "flights"), external=True, group="sources")
MART = Asset("analytics", ("analytics", "marts", "delays"), deps=(RAW.key, ("elsewhere", "x")), group="marts")


def test_the_page_shows_locations_assets_and_what_is_elsewhere() -> None:
    page = lineage.page([MART, RAW, SOURCE])
    assert "  n_ingestion --> n_analytics" in page
    assert '    n_ingestion__raw__flights["raw/flights"]' in page
    assert "  n_ingestion__raw__flights --> n_analytics__marts__delays" in page
    assert "  class n_elsewhere__x,n_api__flights elsewhere" in page


def test_the_order_of_asking_does_not_change_the_page() -> None:
    assert lineage.page([MART, RAW, SOURCE]) == lineage.page([SOURCE, RAW, MART])


def test_a_large_graph_is_drawn_by_groups() -> None:
    many = [replace(RAW, key=("ingestion", "raw", f"t{i}")) for i in range(lineage.MOST_ASSETS)]
    page = lineage.page([*many, RAW, MART])
    assert "## Groups" in page
    assert "n_group__ingestion__raw --> n_group__analytics__marts" in page
    assert "t17" not in page


@pytest.mark.parametrize("name", ['a"]; click x', "<script>", "end", "a`b", "a\nb", "ü"])
def test_a_hostile_name_stays_a_label(name: str) -> None:
    page = lineage.page([replace(RAW, key=("ingestion", "raw", name), deps=())])
    (line,) = [line for line in page.splitlines() if line.startswith("    n_")]
    identifier, _, label = line.strip().partition("[")
    assert identifier.replace("_", "").isalnum()
    assert not set(label[1:-2]) & set('"<>`[]\n')


def test_two_names_never_make_one_box() -> None:
    page = lineage.page([replace(RAW, key=("a", "b_", "c")), replace(RAW, key=("a", "b", "_c"))])
    boxes = [line.partition("[")[0] for line in page.splitlines() if line.startswith("    n_")]
    assert len(set(boxes)) == 2


def test_a_stale_page_is_told(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    assert "does not exist" in str(lineage.check(tmp_path, [RAW]))
    (tmp_path / lineage.FILE).write_text(lineage.page([RAW]))
    assert lineage.check(tmp_path, [RAW]) is None
    assert str(lineage.check(tmp_path, [RAW, MART])) == (
        "docs/lineage.md: differs from the definitions; ./stack lineage writes it"
    )


def test_a_deployment_that_does_not_run_has_no_graph(machine: Machine) -> None:
    with pytest.raises(StackError, match="prod does not run"):
        verb.write(machine.context())
    assert not (machine.root / "docs").exists()
