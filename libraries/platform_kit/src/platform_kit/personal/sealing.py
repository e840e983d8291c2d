"""Values of personal columns as text that says nothing, and back.

A seal is `personal:v<key version>:<owner>:<base64>`: AES-SIV of the value and its type, under the owner's key. It is
authenticated, and deterministic: equal values have equal seals, so that joins, counts and DISTINCT work on them. That
is also what it tells: which rows are equal, how often a value is there, and about how long it is.
"""

# ruff: noqa: S608  SQL is what this module builds: names are quoted, types are DuckDB's own.

import base64
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from platform_kit.environment import Environment
from platform_kit.personal import hide
from platform_kit.personal.keys import keys_of, own_keys

if TYPE_CHECKING:
    import polars
    from duckdb import DuckDBPyConnection

_SEAL = re.compile(r"personal:v([1-9][0-9]*):([a-z][a-z0-9_]*):([A-Za-z0-9_-]{22,})")
_PREFIX = "personal:v"
_TYPE_END = b"\0"
TEXT = "VARCHAR"
# Names of types, with their digits and parts: DECIMAL(10,2), TIMESTAMP WITH TIME ZONE, INTEGER[].
_TYPE = re.compile(r"[A-Z][A-Z0-9_ ]*(\([0-9]+(, ?[0-9]+)?\))?(\[\])*")


def is_seal(value: object) -> bool:
    """Whether a value is sealed, by anybody."""
    return isinstance(value, str) and value.startswith(_PREFIX) and _SEAL.fullmatch(value) is not None


def seal(
    frame: "polars.DataFrame", columns: Iterable[str], environment: Environment
) -> "tuple[polars.DataFrame, dict[str, str]]":
    """The frame with these columns sealed under this location's newest key, and the types they had.

    A value that is a seal already, of this location or another, stays so. Raises `PersonalDataError` without a key.
    """
    import polars

    names = [name for name in columns if name in frame.columns and frame.schema[name] != polars.Null]
    if not names:
        return frame, {}
    keys, owner = own_keys(environment), environment.code_location
    texts, types = _as_text(frame.select(names))
    sealed = []
    for name in names:
        values = texts[name].drop_nulls().unique().to_list()
        hide(value for value in values if not is_seal(value))
        seals = [_sealed(value, types[name], owner, keys) for value in values]
        sealed.append(_mapped(texts[name], values, seals))
    return frame.with_columns(sealed), types


def opened(
    frame: "polars.DataFrame", environment: Environment, types: Mapping[str, str] | None = None
) -> "polars.DataFrame":
    """The frame with every value in clear whose owner's key is here; all others stay sealed.

    A column has its old type again when all of it was opened; `types` say it of personal columns that hold no value.
    """
    import polars

    restored = {}
    for name, kind in frame.schema.items():
        if kind != polars.String:
            continue
        column = frame[name]
        if column.null_count() == len(column):
            restored.update({name: types[name]} if types and name in types else {})
            continue
        # Most columns hold no seal, and a look at their first characters is all that they cost.
        sealed = column.str.starts_with(_PREFIX)
        if not sealed.any():
            continue
        seals = column.filter(sealed).unique().to_list()
        found = {each: clear for each in seals if (clear := _opened(each, environment)) is not None}
        if found:
            texts = [text for _, text in found.values()]
            hide(texts)
            frame = frame.with_columns(_mapped(column, list(found), texts))
            kinds = {kind for kind, _ in found.values()}
            if len(kinds) == 1 and len(found) == len(seals) and sealed.drop_nulls().all():
                restored[name] = kinds.pop()
    # A type is a word of whoever sealed; as anything else it would be SQL of theirs.
    return _as_types(frame, {name: kind for name, kind in restored.items() if kind != TEXT and _TYPE.fullmatch(kind)})


def _sealed(value: str, kind: str, owner: str, keys: tuple[bytes, ...]) -> str:
    match = _SEAL.fullmatch(value)
    # Another's seal cannot be told from its imitation here; an imitation of one's own is sealed like any text.
    if match and (match[2] != owner or _decrypted(match, keys) is not None):
        return value
    cipher = _cipher(keys[-1])
    text = base64.urlsafe_b64encode(cipher.encrypt(kind.encode() + _TYPE_END + value.encode(), [owner.encode()]))
    return f"{_PREFIX}{len(keys)}:{owner}:{text.decode().rstrip('=')}"


def _opened(value: str, environment: Environment) -> tuple[str, str] | None:
    """Type and text of a seal; None where there is no key, and for what only looks like a seal."""
    match = _SEAL.fullmatch(value)
    content = _decrypted(match, keys_of(environment, match[2])) if match else None
    if content is None:
        return None
    kind, _, text = content.partition(_TYPE_END)
    return kind.decode(), text.decode()


def _decrypted(match: re.Match[str], keys: tuple[bytes, ...]) -> bytes | None:
    version, owner, text = int(match[1]), match[2], match[3]
    if version > len(keys):
        return None
    # Here, so that who has no key needs no package either.
    from cryptography.exceptions import InvalidTag

    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        return bytes(_cipher(keys[version - 1]).decrypt(data, [owner.encode()]))
    except (InvalidTag, ValueError):
        return None


@cache
def _cipher(key: bytes) -> Any:
    from cryptography.hazmat.primitives.ciphers.aead import AESSIV

    # AES-256-SIV takes two keys of 32 bytes; the prefix keeps the secret free for other uses.
    return AESSIV(hashlib.sha512(b"personal:v1:" + key).digest())


def _mapped(column: "polars.Series", old: list[str], new: list[str]) -> "polars.Series":
    import polars

    if not old:
        return column
    return column.replace_strict(old, new, default=column, return_dtype=polars.String)


def _as_text(frame: "polars.DataFrame") -> "tuple[polars.DataFrame, dict[str, str]]":
    """All columns as text, and the types they had in DuckDB's words, whose casts lead back to the same value."""
    import polars

    if all(kind == polars.String for kind in frame.schema.values()):
        return frame, dict.fromkeys(frame.columns, TEXT)
    from platform_kit.lake.frames import INCOMING, columns_of, to_polars

    with _converting(frame) as connection:
        types = columns_of(connection, INCOMING)
        return to_polars(connection.sql(f"SELECT CAST(COLUMNS(*) AS {TEXT}) FROM {INCOMING}")), types


def _as_types(frame: "polars.DataFrame", types: Mapping[str, str]) -> "polars.DataFrame":
    if not types:
        return frame
    from platform_kit.lake.connection import quoted
    from platform_kit.lake.frames import INCOMING, to_polars

    with _converting(frame) as connection:
        casts = ", ".join(f"CAST({quoted(name)} AS {kind}) AS {quoted(name)}" for name, kind in types.items())
        return to_polars(connection.sql(f"SELECT * REPLACE ({casts}) FROM {INCOMING}"))


@contextmanager
def _converting(frame: "polars.DataFrame") -> "Iterator[DuckDBPyConnection]":
    """A DuckDB of its own with the frame; no lake is attached, so that its conversions hold up nobody's file."""
    import duckdb

    from platform_kit.lake.frames import register

    with duckdb.connect(":memory:") as connection:
        connection.execute("SET TimeZone = 'UTC'")
        register(connection, frame)
        yield connection
