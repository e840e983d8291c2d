"""The lakes, each asked in its own code server: what a catalog says is carried out where it is read."""

import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from operations import docker, gateway
from operations.context import Context
from operations.errors import StackError
from operations.invariants.facts import Table

INSIDE = Path(__file__).with_name("inside") / "lake_rows.py"
# The column or expression that tells a row's partition stands in the asset's definition alone.
EXPRESSIONS = """{ assetNodes { assetKey { path } metadataEntries { label ... on TextMetadataEntry { text } } } }"""
KEY = "partition_expr"
SECONDS = 180

Asset = tuple[str, ...]


def read(context: Context, containers: list[docker.Container], assets: Iterable[Asset]) -> tuple[Table, ...]:
    """The tables of these assets as they are now. An asset's key begins with the location whose lake has it."""
    by_location: dict[str, list[Asset]] = defaultdict(list)
    for asset in sorted(assets):
        by_location[asset[0]].append(asset)
    if not by_location:
        return ()
    expressions = _expressions(context, containers)
    tables: list[Table] = []
    for location, wanted in by_location.items():
        server = next((each for each in containers if each.service == location and each.is_service), None)
        # A location that was taken away keeps its history; whose server is down is told by the doctor's other checks.
        if server is not None and server.state == "running":
            tables += _ask(context, server, [(asset, expressions.get(asset)) for asset in wanted])
    return tuple(tables)


def _ask(context: Context, server: docker.Container, wanted: list[tuple[Asset, str | None]]) -> list[Table]:
    command = ["docker", "exec", "--interactive", server.id, "entrypoint", "python", "-", json.dumps(wanted)]
    result = context.executor.run(command, stdin=INSIDE.read_text(encoding="utf-8"), check=False, timeout=SECONDS)
    try:
        found = json.loads(result.stdout.splitlines()[-1])
        return [Table(tuple(asset), **values) for asset, values in found]
    except (ValueError, IndexError, TypeError) as error:
        raise StackError(
            f"the lake of {server.service} could not be read: {result.last_words}",
            f"its tables' rows, counted in {server.name}",
            f"{context.deployment.stack} doctor, for what is wrong with that location",
        ) from error


def _expressions(context: Context, containers: list[docker.Container]) -> dict[Asset, str]:
    """By asset; nothing where nobody answers: then tables are compared as a whole."""
    if not gateway.runs(containers):
        return {}
    try:
        nodes = gateway.as_admin(context.deployment).ask(EXPRESSIONS)["assetNodes"]
    except gateway.UnreachableError:
        return {}
    return {
        tuple(node["assetKey"]["path"]): entry["text"]
        for node in nodes
        for entry in node["metadataEntries"]
        if entry["label"] == KEY and entry.get("text")
    }
