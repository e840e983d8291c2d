"""Promise: what is not Python, or is a notebook, tells its logs, results and errors to the run that started it."""

import json
from typing import Any

import pytest

from tests.support.deployment import Deployment, docker, lake_rows
from tests.support.flights import YEAR
from tests.support.graphql import GraphQL

pytestmark = pytest.mark.needs("eta")
LINEAR, REPORT = "eta/model/linear_baseline_r", "eta/reports/model_report"
LATEST = """query Latest($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode {
  assetMaterializations(limit: 1) { runId metadataEntries { label
    ... on IntMetadataEntry { intValue } ... on FloatMetadataEntry { floatValue } ... on TextMetadataEntry { text }
    ... on MarkdownMetadataEntry { mdStr } ... on PathMetadataEntry { path }
} } } } }"""


def materialisations(admin: GraphQL, key: str) -> list[dict[str, Any]]:
    """The last one, if there is any."""
    found: list[dict[str, Any]] = admin.ask(LATEST, key={"path": key.split("/")})["assetNodeOrError"][
        "assetMaterializations"
    ]
    return found


def latest(admin: GraphQL, key: str, run: str) -> dict[str, Any]:
    """The metadata of an asset's last materialisation, which must be that run's."""
    (found,) = materialisations(admin, key)
    assert found["runId"] == run
    values = ("intValue", "floatValue", "text", "mdStr", "path")
    return {
        entry["label"]: next((entry[name] for name in values if name in entry), None)
        for entry in found["metadataEntries"]
    }


@pytest.fixture(scope="module")
def told(deployment: Deployment, admin: GraphQL, marts: str) -> str:
    """A run of the R asset and of the notebook, after a model was trained and judged on the year."""
    if not materialisations(admin, "eta/model/evaluation"):  # tests/test_model.py may have been here
        admin.backfill_to_the_end(["eta/features/flights"], YEAR, seconds=420)
        admin.wait_for(admin.launch("eta", job="train_and_release"), "SUCCESS", seconds=300)
    run = admin.launch("eta", assets=[LINEAR, REPORT])
    admin.wait_for(run, "SUCCESS", seconds=300)
    return run


def test_r_tells_the_run_what_it_does_and_found(deployment: Deployment, admin: GraphQL, told: str) -> None:
    messages = admin.messages(told)
    assert any(message.startswith("336776 flights, ") for message in messages)
    assert any(message.startswith("learned from ") for message in messages)
    found = latest(admin, LINEAR, told)
    assert found["r_version"].startswith("R version 4.")
    assert 11 < found["mae/linear_baseline_r"] < found["mae/departure_delay"] < 15
    assert found["strongest"].startswith("| term | estimate | t |")
    terms = lake_rows(deployment, "eta", "select count(*) as terms from eta.model.linear_baseline_r")
    assert terms == [{"terms": found["dagster/row_count"]}]
    checks = [event["evaluation"] for event in admin.events(told) if event.get("evaluation")]
    assert {"checkName": "better_than_no_model", "success": True} in checks


def test_a_notebook_tells_the_run_from_inside_its_kernel_and_is_kept(
    deployment: Deployment, admin: GraphQL, told: str
) -> None:
    assert any(message.startswith("smallest error: ") for message in admin.messages(told))
    found = latest(admin, REPORT, told)
    assert found["smallest_error"] in ("candidate", "accepted")
    assert found["notebook"] == f"/var/lib/lake/eta/reports/model_report/{told}.ipynb"
    executed = json.loads(docker("exec", deployment.container("eta"), "cat", found["notebook"]))
    assert all(cell["execution_count"] for cell in executed["cells"] if cell["cell_type"] == "code")
    page = docker("exec", deployment.container("eta"), "cat", found["page"])
    assert "image/png;base64," in page
    assert 'src="http' not in page


# An asset whose body is a given R script, materialised in the location's image; prints what Dagster got to know.
INSIDE = """
import json
from pathlib import Path
import dagster as dg
from eta.defs.linear_baseline import linear_baseline, r_script

script = Path("/tmp/of_the_test.R")
script.write_text(f'source("{{linear_baseline.SCRIPT.with_name("dagster_pipes.R")}}")\\n' + {body!r})
KEY = dg.AssetKey(["eta", "model", "of_the_test"])

@dg.asset(key=KEY, check_specs=[dg.AssetCheckSpec("in_r", asset=KEY)])
def of_the_test(context):
    yield r_script.run_r(context, script, {{"greeting": "grüß", "nested": {{"a": [1, 2.5]}}}})

with dg.DagsterInstance.ephemeral() as instance:
    result = dg.materialize([of_the_test], instance=instance, raise_on_error=False)
    logs = [entry for entry in instance.all_logs(result.run_id)]
    failures = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    errors = [entry.dagster_event.engine_event_data.error for entry in logs
              if entry.dagster_event and entry.dagster_event.event_type_value == "ENGINE_EVENT"]
    made = [event.materialization for event in result.all_events
            if event.event_type_value == "ASSET_MATERIALIZATION"]
    print(json.dumps({{
        "logs": [[entry.level, entry.user_message] for entry in logs if not entry.dagster_event],
        "metadata": {{name: value.value for each in made for name, value in each.metadata.items()}},
        "checks": [[check.check_name, check.passed, check.severity.value, check.metadata["reason"].value]
                   for check in result.get_asset_check_evaluations()],
        "failure": [failure.user_failure_data.description for failure in failures],
        "stack": [line for error in errors if error for line in error.stack],
    }}))
"""


def in_r(deployment: Deployment, body: str) -> dict[str, Any]:
    """What a run gets to know of an R script."""
    printed = deployment.python("eta", INSIDE.format(body=f"with_dagster_pipes(function(pipes) {{\n{body}\n}})"))
    found: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return found


def test_r_speaks_the_protocol_whatever_the_text(deployment: Deployment) -> None:
    found = in_r(
        deployment,
        """
        pipes$log(paste(pipes$extra("greeting"), 'with "quotes"\\n, ✈ and \\\\'), "DEBUG")
        warning("a warning of R")
        pipes$report_asset_check("in_r", 1 > 2, list(reason = "nö"), severity = "WARN")
        pipes$report_asset_materialization(list(
          rows = 3L, third = 1/3, missing = NA_real_, words = c("a", "b"), yes = TRUE, nested = pipes$extra("nested"),
          table = list(type = "md", raw_value = "| a |")
        ))
        """,
    )
    assert [10, 'grüß with "quotes"\n, ✈ and \\'] in found["logs"]
    assert [30, "a warning of R"] in found["logs"]
    assert found["checks"] == [["in_r", False, "WARN", "nö"]]
    assert found["metadata"] == {
        **{"rows": 3, "third": pytest.approx(1 / 3), "missing": None, "words": ["a", "b"], "yes": True},
        **{"nested": {"a": [1, 2.5]}, "table": "| a |"},
    }
    assert found["failure"] == []


def test_an_error_of_r_fails_the_run_by_its_message_and_its_calls(deployment: Deployment) -> None:
    found = in_r(
        deployment,
        """
        learn <- function(flights) stop("nothing to learn from: ", flights)
        pipes$log("before")
        learn("no flights ✈")
        """,
    )
    assert found["failure"] == ["of_the_test.R failed: simpleError: nothing to learn from: no flights ✈"]
    assert found["stack"][0] == 'learn("no flights ✈")\n'
    assert [20, "before"] in found["logs"]
    assert found["metadata"] == {}


@pytest.mark.parametrize(
    ("body", "failure"),
    [
        ("pipes$extra('absent')", "there is no extra absent: greeting, nested"),
        ("for (i in 1:2) pipes$report_asset_materialization()", "asset eta/model/of_the_test was materialized already"),
        ("pipes$report_asset_check('in_r', TRUE, asset_key = 'a/b')", "asset_key a/b is not of this step: "),
        # Nothing can be told any more, not even why: that is in the compute log.
        ("pipes$close(); pipes$log('late')", "External execution process failed with code 1"),
    ],
)
def test_a_wrong_use_of_pipes_in_r_says_what_is_wrong(deployment: Deployment, body: str, failure: str) -> None:
    (found,) = in_r(deployment, body)["failure"]
    assert failure in found
