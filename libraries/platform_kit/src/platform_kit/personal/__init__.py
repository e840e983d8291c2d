"""Personal data: columns that are stored sealed, and opened only where the key of their owner is.

A column is personal by its tag in the asset's schema:

    dg.TableColumn("email", "VARCHAR", "Where to write to", tags=PERSONAL)

What is written to the lake from then on is sealed (`sealing`); readers with the key see the values, all others the
seals. The values are also named to whoever redacts this container's output. docs/personal-data.md has it all.
"""

from collections.abc import Iterable, Mapping
from typing import Any

TAG = "personal"
PERSONAL = {TAG: ""}
"""The tags of a personal column."""


def tagged_columns(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """The columns that an asset's metadata (`dagster/column_schema`) says are personal."""
    schema = metadata.get("dagster/column_schema")
    columns = getattr(getattr(schema, "value", schema), "columns", ())
    return tuple(column.name for column in columns if TAG in (column.tags or {}))


def hide(values: Iterable[object]) -> None:
    """Keep these out of all that this container prints from now on, and of the event log.

    The lake does so for what it reads and writes; call it for what comes from elsewhere and is printed before it is
    stored. Texts below four characters, numbers below six digits, and more than 50,000 values are not followed. On a
    developer's machine nobody redacts, and nothing happens.
    """
    try:
        from redaction import client
    except ImportError:  # it is in the images
        return
    client.hide(str(value) for value in values if value is not None)
