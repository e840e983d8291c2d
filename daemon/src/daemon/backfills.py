"""Backfills, looked at every few seconds: at Dagster's interval one waits half a minute for its start and its end."""

import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

from dagster._core.workspace.context import IWorkspaceProcessContext
from dagster._daemon.backfill import execute_backfill_iteration
from dagster._daemon.controller import DEFAULT_DAEMON_INTERVAL_SECONDS
from dagster._daemon.daemon import BackfillDaemon, DaemonIterator, SpanMarker
from dagster._daemon.utils import DaemonErrorCapture

# Three short queries while nothing is to be done.
INTERVAL_SECONDS = 5.0
# Dagster tries a backfill that fails again at its next look, and gives it up after five: those are to be as far apart.
AFTER_A_FAILURE_SECONDS = float(DEFAULT_DAEMON_INTERVAL_SECONDS)


class PromptBackfillDaemon(BackfillDaemon):
    """Dagster's backfills, looked at more often."""

    def core_loop(
        self, workspace_process_context: IWorkspaceProcessContext[Any], shutdown_event: threading.Event
    ) -> DaemonIterator:
        """Dagster's own loop, but for how long it waits."""
        under_way: dict[str, Future[Any]] = {}
        while True:
            yield SpanMarker.START_SPAN
            yield from self._look(workspace_process_context, under_way)
            yield SpanMarker.END_SPAN
            shutdown_event.wait(INTERVAL_SECONDS)
            if _failed(under_way):
                shutdown_event.wait(AFTER_A_FAILURE_SECONDS - INTERVAL_SECONDS)
            yield None

    def _look(self, context: IWorkspaceProcessContext[Any], under_way: dict[str, Future[Any]]) -> Iterator[Any]:
        try:
            yield from execute_backfill_iteration(
                context,
                self._logger,
                threadpool_executor=self._threadpool_executor,
                submit_threadpool_executor=self._submit_threadpool_executor,
                backfill_futures=under_way,
            )
        except Exception:
            yield DaemonErrorCapture.process_exception(
                exc_info=sys.exc_info(), logger=self._logger, log_message="BackfillDaemon caught an error"
            )


def _failed(under_way: dict[str, Future[Any]]) -> bool:
    """Whether one that has ended since the last look told of an error; those that have ended are forgotten."""
    ended = [under_way.pop(name) for name in list(under_way) if under_way[name].done()]
    return any(future.exception() or any(future.result()) for future in ended)
