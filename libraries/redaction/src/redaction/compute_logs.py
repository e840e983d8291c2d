"""Dagster's compute logs, redacted before they are in a file. Named in the instance that a run is given.

Dagster's own manager puts files in the place of standard output and error, and starts four processes a step to show
their content on the container's output. Here the process that redacts the container's output writes the files too.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Any

from dagster._core.storage.compute_log_manager import CapturedLogContext, ComputeIOType
from dagster._core.storage.local_compute_log_manager import IO_TYPE_EXTENSION, LocalComputeLogManager
from dagster._serdes import ConfigurableClassData
from dagster._utils import ensure_file, touch_file

from redaction import client
from redaction.patterns import redact


class RedactedComputeLogManager(LocalComputeLogManager):
    """`LocalComputeLogManager`, but what it writes is redacted. Where nobody redacts, the log says so and is empty."""

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> Any:
        """Made by Dagster from the instance's reference."""
        return cls(inst_data=inst_data, **config_value)

    @contextmanager
    def capture_logs(self, log_key: Sequence[str]) -> Iterator[CapturedLogContext]:
        """What the process prints within the block, in the two files of this key."""
        out, err = (self.get_captured_local_path(log_key, extension) for extension in IO_TYPE_EXTENSION.values())
        ensure_file(out)
        ensure_file(err)
        try:
            capture = client.capture(out, err)
            capture.__enter__()
        except (client.NoSupervisorError, OSError) as error:
            # Raw output in a file is what this class is there to prevent; a run without a log is better.
            with open(err, "a", encoding="utf-8") as file:
                file.write(f"Nothing was captured: {error}. See docs/personal-data.md.\n")
            yield CapturedLogContext(log_key)
        else:
            try:
                yield CapturedLogContext(log_key)
            finally:
                capture.__exit__(None, None, None)
        touch_file(self.get_captured_local_path(log_key, "complete"))

    @contextmanager
    def open_log_stream(self, log_key: Sequence[str], io_type: ComputeIOType) -> Iterator[IO[Any] | None]:
        """A file for what schedules and sensors log, a JSON object a line."""
        with super().open_log_stream(log_key, io_type) as stream:
            yield None if stream is None else _Redacting(stream)  # type: ignore[misc]


class _Redacting:
    """The one method that Dagster's handler uses of a file."""

    def __init__(self, stream: IO[Any]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(redact(text, client.hidden.spans))
        return len(text)

    def flush(self) -> None:
        self._stream.flush()
