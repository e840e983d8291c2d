"""Runs an R script as a step: logs, metadata, checks and errors come back through Dagster Pipes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.errors import DagsterPipesExecutionError

# Without a locale R takes letters beyond ASCII apart.
_ENVIRONMENT = {"LC_ALL": "C.UTF-8"}


def run_r(context: dg.AssetExecutionContext, script: Path, extras: Mapping[str, Any]) -> dg.MaterializeResult:
    """What the script reported of its one asset. `extras` reach it as `pipes$extra(name)`.

    Raises dg.Failure with R's own message when the script ends with an error.
    """
    client = dg.PipesSubprocessClient(env=_ENVIRONMENT)
    try:
        done = client.run(
            context=context.op_execution_context, command=["Rscript", "--vanilla", str(script)], extras=dict(extras)
        )
    except FileNotFoundError:
        raise dg.Failure(
            "There is no Rscript here. The image of this location has R; elsewhere, install the packages that "
            "SYSTEM_PACKAGES names in docker-compose.yml."
        ) from None
    except DagsterPipesExecutionError as error:
        raise dg.Failure(f"{script.name} failed: {_last_words(context) or error}") from None
    return done.get_materialize_result(implicit_materialization=False)


def _last_words(context: dg.AssetExecutionContext) -> str:
    """The error that the script sent when it closed. Dagster has it as an event of the run, beside the exit code."""
    step = str(context.op_execution_context.op_handle)
    events = context.instance.all_logs(context.run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)
    errors = [
        entry.dagster_event.engine_event_data.error
        for entry in events
        if entry.dagster_event and entry.dagster_event.step_key == step
    ]
    return next((error.message for error in reversed(errors) if error), "")
