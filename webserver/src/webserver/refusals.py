"""What is refused for everybody, whatever their role, because nothing good can come of it."""

import re

_RUN_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


class RefusedError(Exception):
    """A request that is wrong in itself; the message is for the person who sent it."""


def run_id(text: str) -> str:
    """A run's id as Dagster makes them; raises `RefusedError`."""
    if not isinstance(text, str) or not _RUN_ID.fullmatch(text):
        raise RefusedError(f"{text!r} is no id of a run; expected a lower-case UUID.")
    return text


def log_key(parts: object) -> list[str]:
    """The key of a captured log, whose parts become directories; raises `RefusedError`."""
    if not isinstance(parts, list) or not parts or not all(isinstance(part, str) for part in parts):
        raise RefusedError("The key of a log is a list of names.")
    for part in parts:
        if part.strip(". ") == "" or not part.isprintable() or "/" in part or "\\" in part:
            raise RefusedError(f"{part!r} cannot be part of a log's key.")
    return parts
