"""Failed sign-ins are counted by address; what has not tried is not counted."""

import json

import pytest

from operations import sign_ins

FAILED = {"status": 401, "signs_in": "yes"}


def line(address: str = "203.0.113.9", **more: object) -> str:
    return json.dumps({"msg": "handled request", "request": {"client_ip": address}, **FAILED, **more})


def test_guesses_are_told_with_their_address() -> None:
    (finding,) = sign_ins.findings([line()] * 30 + [line("203.0.113.10")])
    assert finding.what == "31 failed in the last hour: 30 from 203.0.113.9, 1 from 203.0.113.10"


def test_guesses_from_many_addresses_are_told_together() -> None:
    (finding,) = sign_ins.findings([line(f"203.0.113.{last}") for last in range(sign_ins.MANY)])
    assert finding.what.startswith("20 failed in the last hour: 1 from 203.0.113.0, ")
    assert finding.what.endswith(", and from 17 more addresses")


def test_somebody_who_mistypes_is_nobodys_business() -> None:
    assert list(sign_ins.findings([line()] * (sign_ins.MANY - 1))) == []


@pytest.mark.parametrize(
    "other",
    [
        line(status=200),
        line(signs_in=None),
        json.dumps({"status": 401, "request": {"client_ip": "203.0.113.9"}}),
        '{"status": 401, "signs_in": "yes"',
        "[]",
        "",
    ],
)
def test_what_is_no_failure_is_not_counted(other: str) -> None:
    assert sign_ins.failures([other]) == {}
