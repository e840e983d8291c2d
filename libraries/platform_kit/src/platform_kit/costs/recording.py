"""Writes costs into materialisations, at the one moment when all of an asset's work is done and its event is not made.

Dagster has no hook there: a wrapped asset function ends before its I/O manager writes, a wrapped I/O manager is not
asked for a MaterializeResult, and success hooks come after the event. So the function that makes the event is wrapped,
and the one that begins a step, once a process; that covers every asset: functions, generators, graphs, dbt, Pipes,
components. Both are internal: a test of each location's runs tells when a version of Dagster has moved them.
"""

import inspect
from collections.abc import Iterable, Iterator, Mapping
from functools import cache, partial
from types import ModuleType
from typing import Any, TypeVar

import dagster as dg
from dagster._core.definitions.assets.definition.asset_spec import AssetExecutionType
from dagster._core.definitions.metadata import normalize_metadata
from dagster._core.execution.plan import execute_plan, execute_step

from platform_kit.alerts.policy import KEY as ALERTS
from platform_kit.costs import prices
from platform_kit.costs.ledger import Ledger
from platform_kit.costs.meter import Meter

_DBT_SECONDS = "Execution Duration"

T = TypeVar("T")


@cache
def ledger() -> Ledger:
    """The account of this process."""
    return Ledger(Meter())


def measured(definitions: dg.Definitions) -> dg.Definitions:
    """The definitions as they are; from now on every materialisation in this process carries what it cost.

    Raises SettingError when a price is not legal.
    """
    price = prices.from_settings()
    _wrap(execute_step, "_get_output_asset_events", partial(_events, price))
    _wrap(execute_plan, "core_dagster_event_sequence_for_step", _step)
    return definitions


def _wrap(module: ModuleType, name: str, wrapper: Any) -> None:
    """Put `wrapper` around a module's function; in place of the one that an earlier call put there."""
    original = getattr(module, name)
    original = getattr(original, "__wrapped__", original)
    wrapped: Any = partial(wrapper, original)
    wrapped.__wrapped__ = original
    setattr(module, name, wrapped)


def split(weights: Mapping[dg.AssetKey, float]) -> None:
    """Divide what the running step used since the last materialisation among these assets, in this proportion.

    For a function that makes several tables and yields them afterwards. Without it, the first would pay for all. (A
    function that returns them together is divided evenly.)
    """
    ledger().split(weights)


def split_by_execution_time(
    context: dg.AssetExecutionContext | dg.OpExecutionContext | None, events: Iterable[T]
) -> list[T]:
    """dbt's events, which were kept until dbt had ended; each model is to pay by dbt's own figure of its duration.

    For who collects a command's events before yielding them. Yielded as they come, each model pays for its own time.
    """
    found = list(events)
    seconds: dict[dg.AssetKey, float] = {}
    for event in found:
        duration = event.metadata.get(_DBT_SECONDS) if isinstance(event, dg.Output) else None
        if context and isinstance(event, dg.Output) and isinstance(duration, dg.FloatMetadataValue):
            seconds[context.asset_key_for_output(event.output_name)] = duration.value or 0.0
    if seconds:
        split(seconds)
    return found


def _step(original: Any, step_context: Any) -> Any:
    """A step begins: with the first of a run, its start-up is over."""
    ledger().begin(step_context.run_id, lambda: _materialisations(step_context))
    return original(step_context)


def _events(price: prices.Prices, original: Any, *args: Any, **named: Any) -> Iterator[Any]:
    """The events of an output, with more metadata."""
    bound = inspect.signature(original).bind(*args, **named).arguments
    if bound["execution_type"] == AssetExecutionType.MATERIALIZATION:
        partitions = len(list(bound["asset_partitions"]))
        context, key = bound["step_context"], bound["asset_key"]
        bound["io_manager_metadata"] = {
            **_said_of(context, key),
            **bound["io_manager_metadata"],
            **_cost(context, key, max(1, partitions), price),
        }
    yield from original(**bound)


def _cost(context: Any, key: dg.AssetKey, partitions: int, price: prices.Prices) -> dict[str, dg.MetadataValue]:
    """The cost of one partition: a run over many divides evenly, for their rows were read and written as one."""
    account = ledger()
    account.together(_joint(context))
    used, peak = account.charge(key).part(1 / partitions), account.meter.peak_memory()
    return {
        "cost/cpu_seconds": dg.MetadataValue.float(round(used.cpu, 6)),
        "cost/peak_memory_bytes": dg.MetadataValue.int(peak),
        "cost/wall_seconds": dg.MetadataValue.float(round(used.wall, 6)),
        "cost/amount": dg.MetadataValue.float(round(price.amount(used, peak), 12)),
        "cost/currency": dg.MetadataValue.text(price.currency),
    }


def _said_of(context: Any, key: dg.AssetKey) -> dict[str, Any]:
    """Who owns the asset, and whom its definition wants told: the location platform sees events, not definitions."""
    node = context.job_def.asset_layer.asset_graph.get(key)
    said: dict[str, Any] = {ALERTS: node.metadata[ALERTS]} if ALERTS in node.metadata else {}
    if node.owners:
        said["cost/team"] = dg.MetadataValue.text(node.owners[0].removeprefix("team:"))
    return dict(normalize_metadata(said))


def _joint(context: Any) -> list[dg.AssetKey]:
    """The assets of a step whose function returns all of them together; empty where it yields them one by one."""
    function = getattr(context.op_def.compute_fn, "decorated_fn", None)
    if function is None or inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        return []
    return _made_by(context.step)


def _materialisations(context: Any) -> int:
    return sum(len(_made_by(step)) for step in context.execution_plan.get_steps_to_execute_in_topo_order())


def _made_by(step: Any) -> list[dg.AssetKey]:
    outputs = (output.properties for output in getattr(step, "step_outputs", ()))
    return [
        o.asset_key for o in outputs if o.asset_key and o.asset_execution_type == AssetExecutionType.MATERIALIZATION
    ]
