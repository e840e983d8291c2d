"""Promise: a location says who is told, as metadata or run tags, and a wrong policy is refused with its field."""

import dagster as dg
import pytest
from pydantic import ValidationError

from platform_kit.alerts import AlertPolicy, as_metadata, as_run_tags, from_metadata, from_run_tags

LATE = AlertPolicy(when="late", to=["ana@example.org"], after_hours=30)
FAILURE = AlertPolicy(when="failure", to=["webhook", "bob@example.org"])


def test_policies_travel_as_an_assets_metadata() -> None:
    @dg.asset(metadata=as_metadata([LATE, FAILURE]))
    def report() -> None: ...

    metadata = next(iter(report.specs)).metadata
    assert from_metadata(metadata) == [LATE, FAILURE]


def test_policies_travel_with_a_materialisation() -> None:
    @dg.asset
    def report() -> dg.MaterializeResult[None]:
        return dg.MaterializeResult(metadata=as_metadata([LATE]))

    result = dg.materialize([report])
    (event,) = result.asset_materializations_for_node("report")
    assert from_metadata(event.metadata) == [LATE]


def test_policies_travel_as_a_runs_tags() -> None:
    @dg.op
    def work() -> None: ...

    @dg.job(tags=as_run_tags([FAILURE]))
    def nightly() -> None:
        work()

    result = nightly.execute_in_process()
    assert from_run_tags(result.dagster_run.tags) == [FAILURE]


def test_no_policies_leave_nothing_behind() -> None:
    assert as_metadata([]) == {}
    assert as_run_tags([]) == {}
    assert from_metadata({}) == []
    assert from_run_tags({}) == []


@pytest.mark.parametrize(
    "receiver",
    [
        "ana",
        "ana@localhost",
        "ana@example.org\r\nBcc: eve@example.org",
        "ana@example.org\n",
        "ana@example.org, eve@example.org",
        "<ana@example.org>",
        '"a b"@example.org',
        "ana@[127.0.0.1]",
        "ana@exämple.org",
        "https://hooks.example.org/T1",
        "",
        "a" * 65 + "@example.org",
    ],
)
def test_a_receiver_is_one_plain_address_or_the_webhook(receiver: str) -> None:
    with pytest.raises(ValidationError, match="is not a receiver: expected an e-mail address, or 'webhook'"):
        AlertPolicy(when="failure", to=[receiver])


@pytest.mark.parametrize(
    "fields",
    [
        {"when": "late", "to": ["webhook"]},
        {"when": "failure", "to": ["webhook"], "after_hours": 3},
        {"when": "late", "to": ["webhook"], "after_hours": 0},
        {"when": "late", "to": ["webhook"], "after_hours": float("inf")},
        {"when": "sometimes", "to": ["webhook"]},
        {"when": "failure", "to": []},
        {"when": "failure", "to": ["webhook"], "cc": ["ana@example.org"]},
    ],
)
def test_a_policy_that_says_too_little_or_too_much_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        AlertPolicy.model_validate(fields)


@pytest.mark.parametrize("text", ["{", "[" * 100_000, '{"when": "failure"}', '[{"when": "failure", "to": "webhook"}]'])
def test_tags_of_another_locations_making_are_an_error_and_no_crash(text: str) -> None:
    with pytest.raises(ValueError, match="alerts/policies"):
        from_run_tags({"alerts/policies": text})
