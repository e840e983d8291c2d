"""Copies the logs of runs that have ended to the bucket; redacted once more on their way.

The files are redacted already, by the process that wrote them. But a location owns its log directory and may write
there what it likes, and an image built elsewhere may lack that process: what leaves the machine passes the same
patterns here.
"""

import io
import logging
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any, cast

from dagster import DagsterInstance

from redaction import client
from redaction.stream import Redactor
from run_launcher.compute_logs import LocationsComputeLogManager
from run_launcher.log_bucket import LogBucket
from run_launcher.log_files import UnsafeLogKeyError, check_parts, read_beneath

logger = logging.getLogger("dagster.compute_logs")
INTERVAL_SECONDS = 15.0
# The container's last words come a little after the run's end.
LAST_WORDS_SECONDS = 60.0
PIECE = 1024 * 1024
FOLDER = "compute_logs"
# Written last: with it, all logs of the run are there.
MARK = "shipped"
_SUFFIXES = (".out", ".err", ".complete")
# Of one run. A location may write what it likes, as a sparse file of terabytes, and the others' runs wait behind it.
MOST_BYTES = 1024 * 1024 * 1024
MOST_FILES = 10_000
CUT = b"\n[the rest is not copied: the logs of this run are too long]\n"
# A run's id, with the folder of the location that has a folder of that name: any location can make one.
_Found = tuple[str, Path]


class Shipping:
    """One thread's work. What it has done is in the bucket; its own memory only spares it from asking twice."""

    def __init__(self, instance: DagsterInstance, manager: LocationsComputeLogManager, bucket: LogBucket) -> None:
        self._instance, self._manager, self._bucket = instance, manager, bucket
        self._done: set[_Found] = set()
        self._failing: set[_Found] = set()
        self._stop = threading.Event()

    def look(self) -> int:
        """Copy the logs of all runs that have ended and are not there yet; gives their number.

        A run that cannot be copied is logged once, and tried again by the next look; it keeps no other from the bucket.
        """
        found = {(run_id, folder.resolve()): None for run_id, folder in self._manager.run_folders()}
        self._done &= found.keys()
        copied, errors = 0, dict[_Found, Exception]()
        for each in found:
            try:
                copied += each not in self._done and self._has_ended(*each) and self._ship(*each)
            except Exception as error:
                errors[each] = error
        self._tell({each: error for each, error in errors.items() if each not in self._failing})
        self._failing = set(errors)
        return copied

    def _tell(self, errors: dict[_Found, Exception]) -> None:
        # Once, not four times a minute, and not for each run: the bucket may be away for hours.
        for (run_id, _), error in islice(errors.items(), 1):
            name, number = self._bucket.settings.bucket, len(errors)
            logger.error("compute logs cannot be copied to %s: %s run(s), as %s: %s", name, number, run_id, error)

    def run(self) -> None:
        """Look again and again until stopped. A bucket that is away is no reason to end: the files stay, and wait."""
        while not self._stop.wait(INTERVAL_SECONDS):
            try:
                self.look()
            except Exception:
                # The folders themselves cannot be listed.
                logger.exception("compute logs are not copied")

    def stop(self) -> None:
        """End `run` at its next look."""
        self._stop.set()

    def _has_ended(self, run_id: str, folder: Path) -> bool:
        record = self._instance.get_run_record_by_id(run_id)
        # A folder that another location made with this run's id is none of the run's.
        if record is None or self._manager.folder_of(run_id) != folder:
            self._done.add((run_id, folder))
            return False
        return record.dagster_run.is_finished and (record.end_time or 0) < time.time() - LAST_WORDS_SECONDS

    def _ship(self, run_id: str, folder: Path) -> bool:
        if self._bucket.has(f"{run_id}/{MARK}"):
            self._done.add((run_id, folder))
            return False
        logs, allowance = folder / run_id / FOLDER, _Allowance(MOST_BYTES)
        names = list(islice(_names(logs), MOST_FILES + 1))
        for name in sorted(names[:MOST_FILES]):
            self._bucket.put(f"{run_id}/{FOLDER}/{name}", _Redacted(folder, logs / name, allowance).stream())
        told = f"there are more than {MOST_FILES} files; the others are not copied\n" if names[MOST_FILES:] else ""
        self._bucket.put(f"{run_id}/{MARK}", io.BytesIO(told.encode()))
        self._done.add((run_id, folder))
        return True


def _names(logs: Path) -> Iterator[str]:
    """The files that can be asked for; what cannot be a log's name could not be an object's either."""
    if logs.is_symlink() or not logs.is_dir():
        return
    with os.scandir(logs) as entries:
        for entry in entries:
            try:
                check_parts([entry.name])
            except UnsafeLogKeyError:
                continue
            if entry.name.endswith(_SUFFIXES) and entry.is_file(follow_symlinks=False):
                yield entry.name


@dataclass
class _Allowance:
    """What one run may still copy."""

    bytes: int


class _Redacted(io.RawIOBase):
    """A file's content as the patterns leave it, read in pieces and without following links."""

    def __init__(self, base: Path, path: Path, allowance: _Allowance) -> None:
        super().__init__()
        self._pieces = self._redacted(base, path, allowance)
        self._left = b""

    def stream(self) -> IO[bytes]:
        """This as a file."""
        return cast("IO[bytes]", io.BufferedReader(self))

    def readable(self) -> bool:
        """It is read only."""
        return True

    def readinto(self, buffer: Any) -> int:
        """The next bytes; 0 at the end."""
        while not self._left:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._left = piece
        taken, self._left = self._left[: len(buffer)], self._left[len(buffer) :]
        buffer[: len(taken)] = taken
        return len(taken)

    @staticmethod
    def _redacted(base: Path, path: Path, allowance: _Allowance) -> Iterator[bytes]:
        redactor, offset, cut = Redactor(client.hidden.spans), 0, False
        while not cut:
            # One byte where nothing is left: whether there is more.
            data, offset = read_beneath(base, path, offset, min(PIECE, allowance.bytes) or 1)
            if not data:
                break
            cut = not allowance.bytes
            if not cut:
                allowance.bytes -= len(data)
                yield redactor.feed(data)
        # What the patterns hold back of a line that is cut may be the half of a secret.
        yield CUT if cut else redactor.finish()


def start(instance: DagsterInstance) -> Shipping | None:
    """Copy in a thread, where a bucket is set."""
    manager = instance.compute_log_manager
    if not isinstance(manager, LocationsComputeLogManager) or manager.bucket is None:
        return None
    shipping = Shipping(instance, manager, manager.bucket)
    threading.Thread(target=shipping.run, name="compute-logs-to-s3", daemon=True).start()
    return shipping
