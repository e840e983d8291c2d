"""Which code locations, runs and backfills an operation touches.

What is stored counts, never what the client says about it: the location of a run is the one in its origin.
What cannot be attributed to a code location (a run that is gone, an asset that no loaded location has) is
`elsewhere`, and needs an admin.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from dagster import AssetKey
from dagster._core.definitions.partitions.snap import DynamicPartitionsSnap, MultiPartitionsSnap, PartitionsSnap
from dagster._core.remote_representation.handle import CompoundID
from dagster._core.storage.tags import BACKFILL_ID_TAG, PARENT_RUN_ID_TAG, ROOT_RUN_ID_TAG

from webserver.context import RequestContext

Arguments = Mapping[str, Any]


@dataclass(frozen=True)
class Touched:
    """Code locations by name, what belongs to none of them, and the ids for the audit log."""

    locations: frozenset[str] = frozenset()
    elsewhere: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    backfills: tuple[str, ...] = ()

    def __add__(self, other: "Touched") -> "Touched":
        return Touched(
            self.locations | other.locations,
            self.elsewhere + other.elsewhere,
            self.runs + other.runs,
            self.backfills + other.backfills,
        )


NOTHING = Touched()


def together(parts: Iterable[Touched]) -> Touched:
    """All of them at once."""
    return sum(parts, NOTHING)


def location(name: str) -> Touched:
    """One code location, by the name in a selector."""
    return Touched(frozenset({name}))


def run(context: RequestContext, run_id: str) -> Touched:
    """A run that exists, by where it was launched from."""
    found = context.instance.get_run_by_id(run_id)
    if found is None:
        return Touched(elsewhere=(f"run {run_id}, which is not known",), runs=(run_id,))
    if found.remote_job_origin is None:
        return Touched(elsewhere=(f"run {run_id}, which has no code location",), runs=(run_id,))
    return Touched(frozenset({found.remote_job_origin.location_name}), runs=(run_id,))


def backfill(context: RequestContext, backfill_id: str) -> Touched:
    """A backfill that exists, by its job or by all of its assets."""
    found = context.instance.get_backfill(backfill_id)
    if found is None:
        return Touched(elsewhere=(f"backfill {backfill_id}, which is not known",), backfills=(backfill_id,))
    touched = Touched(backfills=(backfill_id,)) + assets(context, found.asset_selection or ())
    if found.partition_set_origin is not None:
        origin = found.partition_set_origin.repository_origin.code_location_origin
        touched += location(origin.location_name)
    if not touched.locations and not touched.elsewhere:
        touched += Touched(elsewhere=(f"backfill {backfill_id}, which has no code location",))
    return touched


def assets(context: RequestContext, keys: Iterable[AssetKey]) -> Touched:
    """Assets: the locations that can produce them, and the one whose lake the key names."""
    return together(_asset(context, key) for key in keys)


def _asset(context: RequestContext, key: AssetKey) -> Touched:
    graph = context.asset_graph
    if not graph.has(key):
        return Touched(elsewhere=(f"asset {key.to_user_string()}, which no loaded code location has",))
    nodes = [info.asset_node for info in graph.get(key).repo_scoped_asset_infos]
    makers = [node for node in nodes if node.is_executable] or nodes
    names = {node.repository_handle.location_name for node in makers}
    # While a location is down, only others that refer to its assets know them: the key still says whose they are.
    if context.has_code_location_name(key.path[0]):
        names.add(key.path[0])
    return Touched(frozenset(names))


def asset_inputs(context: RequestContext, keys: Iterable[Arguments]) -> Touched:
    """Assets as GraphQL's AssetKeyInput."""
    return assets(context, [AssetKey(list(key["path"])) for key in keys])


def references(context: RequestContext, tags: Mapping[str, str]) -> Touched:
    """Runs and backfills that a run claims to belong to by its tags: it would change how theirs go on."""
    touched = NOTHING
    for tag in (PARENT_RUN_ID_TAG, ROOT_RUN_ID_TAG):
        if tags.get(tag):
            touched += Touched(run(context, tags[tag]).locations)
    if tags.get(BACKFILL_ID_TAG):
        touched += Touched(backfill(context, tags[BACKFILL_ID_TAG]).locations)
    return touched


def instigator(context: RequestContext, arguments: Arguments) -> Touched:
    """A schedule or sensor by its two ids.

    Dagster checks the permission by the first id and stores by the second: with the first of one's own schedule
    and the second of another's, one could stop the other's. So both have to be of locations that may be edited.
    """
    first = arguments.get("id") or arguments.get("schedule_origin_id") or arguments.get("job_origin_id") or ""
    second = arguments.get("schedule_selector_id") or arguments.get("job_selector_id") or ""
    if CompoundID.is_valid_string(first):
        parsed = CompoundID.from_string(first)
        first, second = parsed.remote_origin_id, parsed.selector_id
    known = _instigators(context)
    touched = together(location(name) for name, ids in known if first in ids or second in ids)
    stored = context.instance.get_instigator_state(first, second)
    if stored is not None:
        touched += location(stored.origin.location_name)
    for identifier in (first, second):
        if stored is None and not any(identifier in ids for _, ids in known):
            touched += Touched(elsewhere=(f"{identifier or 'no id'}, which is no schedule or sensor",))
    return touched


def _instigators(context: RequestContext) -> list[tuple[str, tuple[str, str]]]:
    return [
        (place.name, (found.get_remote_origin_id(), found.selector_id))
        for place in context.code_locations
        for repository in place.get_repositories().values()
        for found in [*repository.get_schedules(), *repository.get_sensors()]
    ]


def dynamic_partitions(context: RequestContext, name: str) -> Touched:
    """All locations with assets on this dynamic partitions definition: its keys are shared by name."""
    return together(
        location(place.name)
        for place in context.code_locations
        for repository in place.get_repositories().values()
        if any(_uses(node.partitions, name) for node in repository.repository_snap.asset_nodes)
    )


def _uses(partitions: PartitionsSnap | None, name: str) -> bool:
    if isinstance(partitions, DynamicPartitionsSnap):
        return partitions.name == name
    if isinstance(partitions, MultiPartitionsSnap):
        return any(_uses(dimension.partitions, name) for dimension in partitions.partition_dimensions)
    return False
