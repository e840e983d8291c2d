"""What the server holds in numbers, for whoever changes it and has to know afterwards that nothing is gone."""

from typing import Any

from backup import catalogs, history, postgres
from backup.settings import Places


def count(places: Places, since: dict[str, Any] | None = None) -> dict[str, Any]:
    """History and lakes as they are; or, of a later state, those parts of it that were there at an earlier count."""
    with postgres.telling():
        snapshots = {lake["database"]: lake["snapshot"] for lake in since["lakes"]} if since else None
        lakes = catalogs.read(places.sockets, snapshots)
        found = history.read(places.sockets, since["history"] if since and since["history"] else None)
    return {"history": found, "lakes": [lake.as_dict() for lake in lakes]}
