"""What counts as a difference, and that the mending function holds the plan and nothing else. (On a real server:
code_locations/platform/tests.)"""

import pytest
from provisioning import expected
from provisioning.drift import Drift, compare
from provisioning.expected import NOTHING
from provisioning.mending import mend, mend_lake, provide_mending
from provisioning.plan import make_plan

from .test_statements import texts

PLAN = make_plan({"analytics": ["ingestion"], "ingestion": [], "platform": []}, ["platform"])
LIMIT = ("role ingestion", "connection limit")


def test_a_fact_that_differs_is_told_with_both_values():
    (drift,) = compare({LIMIT: "100"}, {LIMIT: "7"})
    assert str(drift) == "role ingestion: connection limit: found 7, expected 100"


def test_a_fact_that_is_missing_and_one_too_many_are_differences():
    right = ("database lake_ingestion", "rights of eta")
    assert compare({LIMIT: "100"}, {right: "CONNECT"}) == [
        Drift(*right, "CONNECT", NOTHING),
        Drift(*LIMIT, NOTHING, "100"),
    ]


@pytest.mark.parametrize(
    "fact", [("role ingestion", "work_mem in lake_ingestion"), ("trigger of_dagsters_own of dagster", "state")]
)
def test_what_the_plan_leaves_to_others_is_no_difference(fact):
    assert compare({}, {fact: "something"}) == []
    assert compare({fact: "another"}, {fact: "something"}) != []


def test_a_maintainer_deletes_history_and_no_other_location_does():
    tables = ["event_logs", "runs", "run_tags", "snapshots", "concurrency_slots"]
    rights = {name: expected.of_dagster(PLAN, name, tables) for name in PLAN.locations}
    deleting = {
        name: {place for (place, what), value in facts.items() if "DELETE" in value and what.startswith("rights")}
        for name, facts in rights.items()
    }
    slots = "table concurrency_slots of dagster"
    assert deleting["ingestion"] == deleting["analytics"] == {slots}
    assert deleting["platform"] == {slots, "table event_logs of dagster", "table runs of dagster"}


def test_only_maintainers_may_call_the_mending():
    made = texts(provide_mending(PLAN, [], superuser=True))
    granted = [statement for statement in made if statement.startswith("GRANT")]
    assert len(granted) == 3
    assert all(statement.endswith('TO "platform"') for statement in granted)
    assert "REVOKE ALL ON FUNCTION provisioning.mend(text) FROM PUBLIC" in made
    assert 'REVOKE ALL ON FUNCTION provisioning.mend(text) FROM "ingestion"' in made


def test_mending_sets_no_password():
    assert not [
        statement for statement in texts(mend(PLAN, "ingestion", ["runs"], superuser=True)) if "PASSW" in statement
    ]


def test_an_owner_takes_back_from_everybody_before_it_gives_to_readers():
    made = texts(mend_lake(PLAN, "ingestion", ["analytics", "platform", "dagster"]))
    assert 'REVOKE ALL ON DATABASE "lake_ingestion" FROM "platform"' in made
    assert 'REVOKE ALL ON DATABASE "lake_ingestion" FROM "dagster"' in made
    last = 'GRANT CONNECT ON DATABASE "lake_ingestion" TO "analytics"'
    assert made[-1] == last
    assert [statement for statement in made if statement.startswith("GRANT") and '"analytics"' not in statement] == []
