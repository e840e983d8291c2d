"""Partitioned asset checks in a run over many partitions.

Dagster's AssetCheckResult says to which partition it belongs only where a run has one; in a one-run backfill of a year
the result would belong to none. So one query looks at all partitions, and every partition gets its own evaluation.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from dagster import (
    AssetCheckEvaluation,
    AssetCheckExecutionContext,
    AssetCheckSeverity,
    AssetCheckSpec,
    AssetRecordsFilter,
    DagsterEventType,
    DagsterInstance,
    Output,
)
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationTargetMaterializationData


@dataclass(frozen=True)
class PartitionResult:
    """What a check found in one partition."""

    passed: bool
    metadata: Mapping[str, Any] = field(default_factory=dict)
    description: str | None = None


def evaluations(
    context: AssetCheckExecutionContext,
    spec: AssetCheckSpec,
    results: Mapping[str, PartitionResult],
    severity: AssetCheckSeverity = AssetCheckSeverity.ERROR,
) -> Iterator[Output[None] | AssetCheckEvaluation]:
    """The events of a partitioned check, one evaluation a partition, for a `multi_asset_check` of `spec` to yield."""
    targets = _materialisations(context.instance, spec, list(results))
    # What Dagster adds by itself for an AssetCheckResult: the step's output, which other steps may wait for.
    yield Output(None, output_name=spec.get_python_identifier())
    for partition, result in results.items():
        yield AssetCheckEvaluation(
            asset_key=spec.asset_key,
            check_name=spec.name,
            passed=result.passed,
            metadata=dict(result.metadata),
            description=result.description,
            severity=severity,
            blocking=spec.blocking,
            partition=partition,
            target_materialization_data=targets.get(partition),
        )


def _materialisations(
    instance: DagsterInstance, spec: AssetCheckSpec, partitions: list[str]
) -> dict[str, AssetCheckEvaluationTargetMaterializationData]:
    """The latest materialisation of each partition, in two queries: by it the UI tells a result from an old one."""
    latest = instance.event_log_storage.get_latest_storage_id_by_partition(
        spec.asset_key, DagsterEventType.ASSET_MATERIALIZATION, set(partitions)
    )
    if not latest:
        return {}
    found = instance.fetch_materializations(
        AssetRecordsFilter(asset_key=spec.asset_key, storage_ids=list(latest.values())), limit=len(latest)
    )
    return {
        str(record.partition_key): AssetCheckEvaluationTargetMaterializationData(
            storage_id=record.storage_id, run_id=record.run_id, timestamp=record.timestamp
        )
        for record in found.records
    }
