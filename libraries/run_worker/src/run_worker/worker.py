"""Gets ready for a run, and executes it as `dagster api execute_run` does: by Dagster's own function."""

import contextlib
import gc
import os
import sys

from dagster import DagsterInstance
from dagster._cli import api
from dagster._core.code_pointer import CodePointer
from dagster._core.definitions.reconstruct import ReconstructableRepository
from dagster._core.definitions.repository_definition import RepositoryDefinition, RepositoryLoadData
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import deserialize_value
from dagster._utils.hosted_user_process import recon_repository_from_origin
from dagster._utils.interrupts import capture_interrupts

from run_worker.orders import Order

Key = tuple[CodePointer, RepositoryLoadData | None]


class Worker:
    """A process with everything imported that runs of a location need."""

    def __init__(self, example: str) -> None:
        """Import and load what the example's run would. Raises what loading the definitions raises."""
        arguments = deserialize_value(example, ExecuteRunArgs)
        if arguments.instance_ref is None:
            raise ValueError("the arguments name no instance; expected those of a run in a container of its own")
        self.instance = DagsterInstance.from_ref(arguments.instance_ref)
        data = self._rehearse(arguments.run_id)
        repository = recon_repository_from_origin(arguments.job_origin.repository_origin)
        definition = repository.with_repository_load_data(data).get_definition()
        # Resolves the graph of assets once; what a job adds to that is little.
        with contextlib.suppress(Exception):
            definition.get_maybe_subset_job_def(arguments.job_origin.job_name)
        keep({(repository.pointer, data): definition})
        # What is there now stays until the end: the collector need not look at it again, neither now nor at the exit.
        gc.collect()
        gc.freeze()

    def look_at(self, order: Order) -> None:
        """The run is known, and will be started in a moment: open the connection that it will need."""
        arguments = deserialize_value(order.arguments, ExecuteRunArgs)
        with contextlib.suppress(Exception):
            self.instance.get_run_by_id(arguments.run_id)

    def execute(self, order: Order) -> int:
        """Execute the run and return its exit code."""
        arguments = deserialize_value(order.arguments, ExecuteRunArgs)
        os.environ["DAGSTER_RUN_JOB_NAME"] = order.job_name
        # As in any other run: whoever reads its input finds its end.
        with open(os.devnull, "rb") as nothing:
            os.dup2(nothing.fileno(), sys.stdin.fileno())
        fail = bool(arguments.set_exit_code_on_failure)
        with capture_interrupts(), self.instance:
            return api._execute_run_command_body(arguments.run_id, self.instance, _drop, set_exit_code_on_failure=fail)

    def _rehearse(self, run_id: str) -> RepositoryLoadData | None:
        """Read the example's run once, which imports and compiles what reading one needs, and close the connection."""
        data = None
        # The example may be deleted and the database away: then the run itself will be the first to ask.
        with contextlib.suppress(Exception):
            run = self.instance.get_run_by_id(run_id)
            snapshot = run and run.execution_plan_snapshot_id
            plan = self.instance.get_execution_plan_snapshot(snapshot) if snapshot else None
            data = plan.repository_load_data if plan else None
        with contextlib.suppress(Exception):
            self.instance.run_storage._engine.dispose()  # type: ignore[attr-defined]
        return data


def keep(loaded: dict[Key, RepositoryDefinition]) -> None:
    """Have Dagster use definitions that are loaded already, where a run asks for the same ones.

    A process of Dagster's own loads them when its run is known, so nothing there keeps them.
    """
    load = ReconstructableRepository.get_definition

    def get_definition(self: ReconstructableRepository) -> RepositoryDefinition:
        return loaded.get((self.pointer, self.repository_load_data)) or load(self)

    ReconstructableRepository.get_definition = get_definition  # type: ignore[method-assign]


def _drop(event: object) -> None:
    """Events are in the database; nobody reads them here."""
