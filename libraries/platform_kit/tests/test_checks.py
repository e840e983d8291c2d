"""Partitioned checks in one run over many partitions."""

import dagster as dg
import pytest

from platform_kit.checks import PartitionResult, evaluations

pytestmark = [
    pytest.mark.filterwarnings("ignore:Parameter `backfill_policy`:dagster.BetaWarning"),
    pytest.mark.filterwarnings("ignore:Specifying a partitions_def on an AssetCheckSpec:dagster.PreviewWarning"),
]
DAYS = dg.DailyPartitionsDefinition("2013-01-01", end_date="2013-02-01")
RANGE = {"dagster/asset_partition_range_start": "2013-01-01", "dagster/asset_partition_range_end": "2013-01-03"}


def definitions() -> dg.Definitions:
    spec = dg.AssetCheckSpec("even", asset="numbers", partitions_def=DAYS)

    @dg.asset(partitions_def=DAYS, backfill_policy=dg.BackfillPolicy.single_run())
    def numbers() -> None: ...

    @dg.multi_asset_check(specs=[spec])
    def check_even(context: dg.AssetCheckExecutionContext):  # type: ignore[no-untyped-def]
        found = {key: PartitionResult(int(key[-1]) % 2 == 0, {"day": int(key[-1])}) for key in context.partition_keys}
        yield from evaluations(context, spec, found)

    return dg.Definitions(assets=[numbers], asset_checks=[check_even], jobs=[dg.define_asset_job("everything")])


def test_each_partition_has_a_result_of_its_own_that_names_its_materialisation() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        result = definitions().resolve_job_def("everything").execute_in_process(instance=instance, tags=RANGE)
        found = {e.partition: e for e in result.get_asset_check_evaluations()}
        assert {key: e.passed for key, e in found.items()} == {
            "2013-01-01": False,
            "2013-01-02": True,
            "2013-01-03": False,
        }
        for key, evaluation in found.items():
            assert evaluation.metadata["day"].value == int(key[-1])
            record = instance.fetch_materializations(
                dg.AssetRecordsFilter(dg.AssetKey("numbers"), asset_partitions=[key]), limit=1
            ).records[0]
            assert evaluation.target_materialization_data
            assert evaluation.target_materialization_data.storage_id == record.storage_id
        stored = instance.event_log_storage.get_asset_check_execution_history(
            dg.AssetCheckKey(dg.AssetKey("numbers"), "even"), limit=10
        )
        assert {(record.partition, record.status.value) for record in stored} == {
            ("2013-01-01", "FAILED"),
            ("2013-01-02", "SUCCEEDED"),
            ("2013-01-03", "FAILED"),
        }


def test_a_run_of_one_partition_says_the_same() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        job = definitions().resolve_job_def("everything")
        result = job.execute_in_process(instance=instance, partition_key="2013-01-02")
        assert [(e.partition, e.passed) for e in result.get_asset_check_evaluations()] == [("2013-01-02", True)]
