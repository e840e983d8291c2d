"""JSON read strictly, so that the broker and whoever reads the same bytes later cannot disagree about them."""

import json
import math
import re
from typing import Any, NoReturn

from run_broker.refusal import Refusal

MAX_DEPTH = 16
MAX_DIGITS = 19
MAX_ITEMS = 20_000
# An unterminated string matches to the end: otherwise each of its quotes would start the search again (quadratic time).
_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)', re.DOTALL)


def parse_object(data: bytes, what: str, *, ignoring_case: bool = True) -> dict[str, Any]:
    """The object in `data`, or a refusal of anything that another JSON reader might read differently.

    `ignoring_case` is for what a Go program could read: it takes keys that differ in case for one and the same.
    """
    _check_shape(data, what)
    try:
        # A duplicate key, NaN, a number too long: each raises in its hook. UTF-8 only: json.loads would guess UTF-16.
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_object_ignoring_case if ignoring_case else _object,
            parse_constant=_constant,
            parse_int=_integer,
            parse_float=_float,
        )
        # A lone surrogate (an escape such as \ud800) cannot be written again.
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except Refusal:
        raise
    except (ValueError, RecursionError) as error:
        raise _malformed(f"{what} is not JSON: {type(error).__name__}") from error
    if not isinstance(value, dict):
        raise _malformed(f"{what} must be an object, not {type(value).__name__}")
    return value


def _check_shape(data: bytes, what: str) -> None:
    """Refuse deep nesting and masses of elements before the parser spends memory on them."""
    structure = _STRINGS.sub(b"", data)
    depth = deepest = 0
    for byte in structure:
        if byte in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"]}":
            depth -= 1
    if deepest > MAX_DEPTH:
        raise _malformed(f"{what} is nested {deepest} deep; at most {MAX_DEPTH} is read")
    if structure.count(b",") + structure.count(b"[") + structure.count(b"{") > MAX_ITEMS:
        raise _malformed(f"{what} has more than {MAX_ITEMS} elements")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object that has each key once."""
    value = dict(pairs)
    if len(value) < len(pairs):
        raise _malformed("a key appears twice in one object")
    return value


def _object_ignoring_case(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys stay different for a reader that ignores case, as Go's does (ſ is s, the Kelvin sign k)."""
    if len({key.casefold() for key, _ in pairs}) < len(pairs):
        raise _malformed("a key appears twice in one object (case ignored)")
    return dict(pairs)


def _constant(text: str) -> NoReturn:
    raise _malformed(f"{text} is not a JSON number")


def _integer(text: str) -> int:
    if len(text.lstrip("-")) > MAX_DIGITS:
        raise _malformed(f"a number has more than {MAX_DIGITS} digits")
    return int(text)


def _float(text: str) -> float:
    number = float(text)
    if len(text) > 64 or not math.isfinite(number):
        raise _malformed("a number is too long or too large")
    return number


def _malformed(message: str) -> Refusal:
    return Refusal(400, "malformed-json", message)
