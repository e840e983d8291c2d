"""Which images runs that are not finished will need, or need: `./stack` removes none of them.

A run keeps the image that it was enqueued with. Until it is launched that is in its record alone, where GraphQL does
not show it.
"""

from dagster import DagsterInstance, RunsFilter
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES, DagsterRun

PAGE = 500


def of_unfinished_runs(instance: DagsterInstance) -> list[str]:
    """The images of all runs that are not finished, each once."""
    found: set[str] = set()
    cursor = None
    while True:
        runs = instance.get_runs(RunsFilter(statuses=NOT_FINISHED_STATUSES), cursor=cursor, limit=PAGE)
        found |= {image for run in runs if (image := _image(run))}
        if len(runs) < PAGE:
            return sorted(found)
        cursor = runs[-1].run_id


def _image(run: DagsterRun) -> str | None:
    origin = run.job_code_origin
    return origin.repository_origin.container_image if origin else None
