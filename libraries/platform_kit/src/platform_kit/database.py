"""What assets use of a database, so that the same asset works on Postgres and, on a laptop, on an embedded one."""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import polars

_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")


class DatabaseError(Exception):
    """The database did not do what was asked; the message says what was found and has no password in it."""


class Database(Protocol):
    """Read rows, store rows by key. `PostgresResource` and `EmbeddedDatabase` are both one."""

    def query(self, sql: str, parameters: Mapping[str, object] | None = None) -> "polars.DataFrame":
        """The rows of a query; parameters are written `%(name)s`."""
        ...

    def upsert(self, schema: str, table: str, frame: "polars.DataFrame", key: Sequence[str]) -> int:
        """Insert the rows, or update those whose key is there already; gives the number of rows of the table.

        The first call makes schema and table. Rows that are not in the frame stay.
        """
        ...


def checked_name(name: str) -> str:
    """`name`, if it is a plain SQL identifier."""
    if not _NAME.fullmatch(name):
        raise DatabaseError(f"{name!r} is not a plain name of a schema, table or column: expected {_NAME.pattern}")
    return name


def refuse_bad_keys(table: str, frame: "polars.DataFrame", key: Sequence[str]) -> None:
    """An error when the key's columns are missing, empty or not unique: an upsert would lose rows in silence."""
    missing = [name for name in key if name not in frame.columns]
    if missing or not key:
        raise DatabaseError(f"the key of {table} needs columns {list(key)}, the frame has {frame.columns}")
    keys = frame.select(key)
    empty = keys.height - keys.drop_nulls().height
    if empty:
        raise DatabaseError(f"{empty} of {keys.height} rows for {table} have no {', '.join(key)}")
    twice = keys.filter(keys.is_duplicated()).unique(maintain_order=True)
    if twice.height:
        raise DatabaseError(f"{twice.height} keys of {table} are in the frame more than once, such as {twice.row(0)}")
