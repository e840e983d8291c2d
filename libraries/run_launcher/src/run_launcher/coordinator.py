"""The run queue, and who a run is attributed to."""

import logging
from collections.abc import Mapping

from dagster import QueuedRunCoordinator
from dagster._core.run_coordinator.base import SubmitRunContext
from dagster._core.storage.dagster_run import DagsterRun
from dagster._core.storage.tags import (
    AUTO_MATERIALIZE_TAG,
    AUTOMATION_CONDITION_TAG,
    BACKFILL_ID_TAG,
    SCHEDULE_NAME_TAG,
    SENSOR_NAME_TAG,
)
from sqlalchemy import text

# What Postgres tells whoever listens when a run was queued.
QUEUED = "dagster_run_queued"
USER_TAG = "user"
USER_HEADER = "X-Forwarded-User"
# Shown for a run that claims a user whom nobody vouches for.
NOBODY = "unknown"
# Runs of these were asked for by a location's code, which may have put any tag on them, a backfill's too.
_AUTOMATIC = (SCHEDULE_NAME_TAG, SENSOR_NAME_TAG, AUTOMATION_CONDITION_TAG, AUTO_MATERIALIZE_TAG)
_logger = logging.getLogger("dagster.run_queue")


class AttributingRunCoordinator(QueuedRunCoordinator):
    """`QueuedRunCoordinator` that tags each run with the person who asked for it, and with nobody else.

    The signed-in user comes with the web request (the webserver drops the header unless the gateway sent it). A
    backfill's runs and retries inherit the user of what they come from. A tag that a location's code or a client
    wrote itself is overwritten: an audit trail that the audited can write is none.
    """

    def submit_run(self, context: SubmitRunContext) -> DagsterRun:
        """Attribute the run, then queue it."""
        run = context.dagster_run
        user = context.get_request_header(USER_HEADER) or self._inherited_user(run)
        tags = attribution(run.tags, user)
        if tags:
            self._instance.add_run_tags(run.run_id, tags)
        queued = super().submit_run(context)
        self._wake()
        return queued

    def _wake(self) -> None:
        """Tell the daemon, which otherwise looks each second. Lost, it is no loss: the run is in the queue."""
        try:
            with self._instance.run_storage.connect() as connection:  # type: ignore[attr-defined]
                connection.execute(text(f"NOTIFY {QUEUED}"))
        except Exception as error:
            _logger.warning("The daemon could not be told that a run was queued: %s", error)

    def _inherited_user(self, run: DagsterRun) -> str | None:
        # The field, which only Dagster's own process writes; the tag of the same name is open to a location's code.
        if run.parent_run_id:
            parent = self._instance.get_run_by_id(run.parent_run_id)
            return parent.tags.get(USER_TAG) if parent else None
        if BACKFILL_ID_TAG in run.tags and not any(tag in run.tags for tag in _AUTOMATIC):
            backfill = self._instance.get_backfill(run.tags[BACKFILL_ID_TAG])
            return backfill.tags.get(USER_TAG) if backfill and backfill.tags else None
        return None


def attribution(tags: Mapping[str, str], user: str | None) -> dict[str, str]:
    """The tags to add so that the run names `user`, or nobody. Pure."""
    claimed = tags.get(USER_TAG)
    if user:
        return {} if claimed == user else {USER_TAG: user}
    return {USER_TAG: NOBODY} if claimed not in (None, NOBODY) else {}
