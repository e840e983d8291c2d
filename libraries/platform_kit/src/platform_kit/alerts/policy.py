"""What a location says about who is told of a failure."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

KEY = "alerts/policies"
WEBHOOK = "webhook"
# No address that mail software disagrees about: no quotes, comments, domains in brackets, or control characters.
_ADDRESS = re.compile(r"[A-Za-z0-9._%+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2,63}", re.ASCII)


def is_address(text: str) -> bool:
    """Whether this is an e-mail address that can be written to."""
    return bool(_ADDRESS.fullmatch(text)) and len(text) <= 254


def _receiver(text: str) -> str:
    if text == WEBHOOK or is_address(text):
        return text
    raise ValueError(f"{text!r} is not a receiver: expected an e-mail address, or {WEBHOOK!r}")


class AlertPolicy(BaseModel):
    """One rule: on what, and who is told beside those whom the deployment always tells.

    `when`: `failure` of a run that makes the asset, or of the job; `check_failed`: an asset check; `late`: no
    materialisation for `after_hours`. `to`: e-mail addresses, or `webhook` for the deployment's webhook.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    when: Literal["failure", "check_failed", "late"]
    to: Annotated[list[Annotated[str, AfterValidator(_receiver)]], Field(min_length=1, max_length=20)]
    after_hours: Annotated[float, Field(gt=0, le=24 * 366)] | None = None

    @model_validator(mode="after")
    def _late_has_hours(self) -> "AlertPolicy":
        if (self.when == "late") != (self.after_hours is not None):
            raise ValueError(
                f"after_hours is {self.after_hours} with when: {self.when}; it goes with `late`, and `late` needs it"
            )
        return self


_POLICIES = TypeAdapter(list[AlertPolicy])


def as_metadata(policies: Iterable[AlertPolicy]) -> dict[str, Any]:
    """Metadata for an asset, a materialisation or a check result; empty without policies."""
    written = [policy.model_dump(exclude_none=True) for policy in policies]
    return {KEY: written} if written else {}


def as_run_tags(policies: Iterable[AlertPolicy]) -> dict[str, str]:
    """Tags for a job, a schedule or an asset job: the policies of its runs."""
    return {key: json.dumps(value) for key, value in as_metadata(policies).items()}


def from_metadata(metadata: Mapping[str, Any]) -> list[AlertPolicy]:
    """The policies in metadata. Raises ValueError, with the offending field, when they are no policies."""
    found = metadata.get(KEY)
    found = getattr(found, "data", getattr(found, "value", found))
    return _parsed(found)


def from_run_tags(tags: Mapping[str, str]) -> list[AlertPolicy]:
    """The policies in a run's tags. Raises ValueError when they are no policies."""
    text = tags.get(KEY)
    if text is None:
        return []
    try:
        return _parsed(json.loads(text))
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"the tag {KEY} is not JSON: {error}") from None


def _parsed(found: object) -> list[AlertPolicy]:
    try:
        return _POLICIES.validate_python([] if found is None else found)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{KEY} has no alert policies: {where}: {first['msg']}") from None
