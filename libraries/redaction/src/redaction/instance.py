"""Dagster's instance as a run has it: messages and errors are redacted before they are in the event log."""

from collections.abc import Mapping, Sequence
from typing import Any

from dagster import DagsterInstance
from dagster._core.events import DagsterEvent
from dagster._core.events.log import EventLogEntry
from dagster._core.instance.ref import InstanceRef
from dagster_shared.error import SerializableErrorInfo
from dagster_shared.record import replace

from redaction import client
from redaction.patterns import redact


class RedactingInstance(DagsterInstance):
    """Stores each event's message and errors redacted. Keys, tags, configuration and metadata stay as they are."""

    @classmethod
    def config_schema(cls) -> Mapping[str, Any]:
        """It has no settings of its own."""
        return {}

    @staticmethod
    def config_defaults(base_dir: str) -> Mapping[str, Any]:
        """Dagster's own defaults."""
        return InstanceRef.config_defaults(base_dir)

    def handle_new_event(self, event: EventLogEntry, **details: Any) -> None:
        """Store an event."""
        super().handle_new_event(redacted(event), **details)


def redacted(event: EventLogEntry) -> EventLogEntry:
    """The event without what must not be seen in its message and errors."""
    changed: dict[str, Any] = {"user_message": _text(event.user_message)}
    if event.error_info is not None:
        changed["error_info"] = _error(event.error_info)
    inner = event.dagster_event
    if inner is not None:
        changed["dagster_event"] = _event(inner)
    return event._replace(**changed)


def _event(event: DagsterEvent) -> DagsterEvent:
    changed: dict[str, Any] = {}
    if event.message:
        changed["message"] = _text(event.message)
    data: Any = event.event_specific_data
    within: dict[str, Any] = {}
    # Failures of steps, runs and hooks, retries, and what the engine says: each has its error under this name.
    if isinstance(getattr(data, "error", None), SerializableErrorInfo):
        within["error"] = _error(data.error)
    failure = getattr(data, "user_failure_data", None)
    if failure is not None and failure.description:
        within["user_failure_data"] = failure._replace(description=_text(failure.description))
    first = getattr(data, "first_step_failure_event", None)
    if isinstance(first, DagsterEvent):
        within["first_step_failure_event"] = _event(first)
    if within:
        changed["event_specific_data"] = data._replace(**within)
    return event._replace(**changed) if changed else event


def _error(error: SerializableErrorInfo) -> SerializableErrorInfo:
    return replace(
        error,
        message=_text(error.message),
        stack=_lines(error.stack),
        cause=error.cause and _error(error.cause),
        context=error.context and _error(error.context),
    )


def _lines(lines: Sequence[str]) -> list[str]:
    return [_text(line) for line in lines]


def _text(text: str) -> str:
    return redact(text, client.hidden.spans)
