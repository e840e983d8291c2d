"""How a component's file is refused: each finding at its own line, with what is legal there."""

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)
from pydantic_core import InitErrorDetails

from platform_kit.components.statements import StatementError, parse

Place = tuple[str | int, ...]
Finding = tuple[Place, object, str]
NAME = re.compile(r"[a-z][a-z0-9_]{0,59}")


def refusal(model: str, findings: Sequence[Finding], others: Sequence[InitErrorDetails] = ()) -> ValidationError:
    """One error a finding (place in the file, what stands there, what is wrong), for a validator to raise."""
    return ValidationError.from_exception_data(
        model,
        [
            InitErrorDetails(type="value_error", loc=place, input=found, ctx={"error": ValueError(message)})
            for place, found, message in findings
        ]
        + list(others),
    )


def only_known(model: type[BaseModel], value: object) -> object:
    """Refuse fields that `model` has not, naming those it has."""
    if findings := _unknown_fields(model, value):
        raise refusal(model.__name__, findings)
    return value


def _unknown_fields(model: type[BaseModel], value: object) -> list[Finding]:
    if not isinstance(value, Mapping):
        return []
    legal = list(model.model_fields)
    return [((str(key),), value[key], _unknown(str(key), legal)) for key in value if key not in legal]


def _unknown(key: str, legal: list[str]) -> str:
    close = difflib.get_close_matches(key, legal, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"found the unknown field {key!r}, expected one of {', '.join(legal)}{hint}"


class Fields(BaseModel):
    """A part of the file. A field that is not known is an error that lists those that are."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="wrap")
    @classmethod
    def _known(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        unknown = _unknown_fields(cls, value)
        if not unknown:
            return handler(value)
        # All findings at once: what else is wrong is told beside them.
        known = {key: each for key, each in value.items() if key in cls.model_fields}
        others: list[InitErrorDetails] = []
        try:
            handler(known)
        except ValidationError as error:
            others = [
                InitErrorDetails(type=each["type"], loc=each["loc"], input=each["input"], ctx=each.get("ctx", {}))
                for each in error.errors()
            ]
        raise refusal(cls.__name__, unknown, others)


def _sql(text: str) -> str:
    try:
        parse(text)
    except StatementError as error:
        raise ValueError(str(error)) from None
    return text


def _text(text: str) -> str:
    if not text.strip():
        raise ValueError("found nothing, expected a text")
    return text.strip()


def owner(text: str) -> str:
    """A team or a person, as Dagster writes them."""
    if not re.fullmatch(r"team:[A-Za-z0-9_-]+|[^@\s]+@[^@\s]+\.[^@\s]+", text):
        raise ValueError(f"found {text!r}, expected team:<name> or an e-mail address")
    return text


Text = Annotated[str, AfterValidator(_text)]
Sql = Annotated[str, AfterValidator(_sql)]
Name = Annotated[str, Field(pattern=f"^{NAME.pattern}$")]
Names = Annotated[list[str], Field(min_length=1)]
