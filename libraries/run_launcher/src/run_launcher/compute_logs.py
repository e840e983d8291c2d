"""Compute logs of all locations, for the services that show them.

A run writes to the log volume of its own location with Dagster's plain manager. Webserver and daemon have all volumes
below one directory, a folder a location, and must find the right one without trusting what is in them. With LOGS_S3_*,
a run's log whose file is gone is read from the bucket that `log_shipping` copied it to.
"""

import re
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import W_OK, access, listdir, path
from pathlib import Path
from typing import IO, Any

from dagster import Field, Float, StringSource
from dagster._core.storage.compute_log_manager import ComputeIOType
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._serdes import ConfigurableClassData

from run_launcher.log_bucket import LogBucket, from_environment
from run_launcher.log_files import LARGEST_READ, UnsafeLogKeyError, check_parts, confined, read_beneath
from run_launcher.log_subscriptions import PolledSubscriptions
from run_launcher.references import LOGS, UnknownLocationError, location_of

_RUN_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII)
_EXTENSIONS = ("out", "err", "complete")
_REMEMBERED_RUNS = 10_000
# A step's key may be longer than a file's name: Dagster then names the file by a digest.
LONGEST_KEY = 4096


class LocationsComputeLogManager(LocalComputeLogManager):
    """`LocalComputeLogManager` over base_dir/<location>/…; what the service itself writes is in base_dir/<own>/…."""

    def __init__(
        self,
        base_dir: str = LOGS,
        own_directory: str = "daemon",
        polling_timeout: float | None = None,
        inst_data: ConfigurableClassData | None = None,
    ) -> None:
        super().__init__(base_dir=base_dir, polling_timeout=polling_timeout, inst_data=inst_data)
        self._base = Path(base_dir).resolve()
        self._own = self._base / own_directory
        self._locations: dict[str, str] = {}
        self._lock = threading.Lock()
        settings = from_environment()
        self.bucket = LogBucket(settings) if settings else None
        self._subscription_manager: Any = PolledSubscriptions(self)

    @classmethod
    def config_type(cls) -> Mapping[str, Any]:
        """The settings under compute_logs.config in dagster.yaml."""
        return {
            "base_dir": Field(StringSource, is_required=False, default_value=LOGS),
            "own_directory": Field(StringSource, is_required=False, default_value="daemon"),
            "polling_timeout": Field(Float, is_required=False),
        }

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> Any:
        """Made by Dagster from dagster.yaml."""
        return cls(inst_data=inst_data, **config_value)

    def get_captured_local_path(self, log_key: Sequence[str], extension: str, partial: bool = False) -> str:
        """Where a log is, or would be. Raises `UnsafeLogKeyError` for whatever is not plainly a log."""
        check_parts(log_key, LONGEST_KEY)
        if extension not in _EXTENSIONS:
            raise UnsafeLogKeyError(f"{extension!r:.80} is no kind of log; there are {', '.join(_EXTENSIONS)}.")
        directory = self._directory(log_key)
        # The file's name, shortened where it is too long, is Dagster's affair: the run's own process wrote it that way.
        name = Path(super().get_captured_local_path(["name", log_key[-1]], extension, partial)).name
        return str(confined(directory, [*log_key[:-1], name]))

    def read_path(self, path: str, offset: int = 0, max_bytes: int | None = None) -> tuple[bytes | None, int]:
        """Part of a log, without following any link; from the bucket when there is no file."""
        found, after = read_beneath(self._base.resolve(), Path(path), offset, max_bytes)
        name = self._name_in_bucket(path)
        if found is not None or self.bucket is None or name is None:
            return found, after
        offset = max(offset, 0)
        stored = self.bucket.get(name, offset, min(max_bytes or LARGEST_READ, LARGEST_READ))
        return stored, offset + len(stored or b"")

    def is_capture_complete(self, log_key: Sequence[str]) -> bool:
        """Whether nothing more comes: then the UI stops asking."""
        path_of_mark = self.get_captured_local_path(log_key, "complete")
        if path.exists(path_of_mark):
            return True
        name = self._name_in_bucket(path_of_mark)
        return self.bucket is not None and name is not None and self.bucket.has(name)

    def run_folders(self) -> Iterator[tuple[str, Path]]:
        """Each run's id with the location's folder that has a folder of that name."""
        for folder in self._folders():
            if folder == self._own:
                continue
            try:
                names = listdir(folder)
            except OSError:
                # It is its location's, which may have closed it; the others' are found.
                continue
            yield from ((name, folder) for name in names if _RUN_ID.fullmatch(name))

    def folder_of(self, run_id: str) -> Path | None:
        """The folder of the location that a run belongs to."""
        location = self._location_of(run_id)
        return self._base / location if location else None

    def _name_in_bucket(self, path: str) -> str | None:
        """What a run's log is called below the bucket's prefix; what is no run's is not there."""
        parts = Path(path).relative_to(self._base.resolve()).parts[1:]
        return "/".join(parts) if parts and _RUN_ID.fullmatch(parts[0]) else None

    def get_log_keys_for_log_key_prefix(
        self, log_key_prefix: Sequence[str], io_type: ComputeIOType
    ) -> Sequence[list[str]]:
        """The keys of the logs in a folder, such as a backfill's."""
        check_parts(log_key_prefix)
        folder = confined(self._directory(log_key_prefix), log_key_prefix)
        if not folder.is_dir():
            return []
        suffix = ".out" if io_type == ComputeIOType.STDOUT else ".err"
        return [[*log_key_prefix, file.stem] for file in sorted(folder.iterdir()) if file.suffix == suffix]

    @contextmanager
    def open_log_stream(self, log_key: Sequence[str], io_type: ComputeIOType) -> Iterator[IO[Any] | None]:
        """A stream for what the daemon itself logs of a backfill; None where it has no directory of its own."""
        if not access(self._own, W_OK):
            yield None
            return
        with super().open_log_stream(log_key, io_type) as stream:
            yield stream

    def delete_logs(self, log_key: Sequence[str] | None = None, prefix: Sequence[str] | None = None) -> None:
        """Delete a log or a folder of logs, where the volume can be written."""
        if log_key or not prefix:
            super().delete_logs(log_key=log_key, prefix=prefix)
            return
        check_parts(prefix)
        folder = confined(self._directory(prefix), prefix)
        if folder.is_dir():
            shutil.rmtree(folder)

    def _directory(self, log_key: Sequence[str]) -> Path:
        """The folder below base_dir that a log belongs to."""
        if _RUN_ID.fullmatch(log_key[0]):
            location = self._location_of(log_key[0])
            return self._base / location if location else self._own
        # A tick's key is [repository, name, tick]; ticks are numbered, so one folder has it. More than one: somebody
        # wrote into another's place, and nothing is shown rather than the wrong thing.
        holders = [folder for folder in self._folders() if self._holds(folder, log_key)]
        return holders[0] if len(holders) == 1 else self._own

    def _folders(self) -> list[Path]:
        if not self._base.is_dir():
            return []
        return [folder for folder in sorted(self._base.iterdir()) if folder.is_dir() and not folder.is_symlink()]

    @staticmethod
    def _holds(folder: Path, log_key: Sequence[str]) -> bool:
        *names, last = log_key
        inner = folder.joinpath(*names)
        return any(path.exists(inner / name) for name in (last, *(f"{last}.{extension}" for extension in _EXTENSIONS)))

    def _location_of(self, run_id: str) -> str | None:
        """The location of a run: the workspace's word, not a folder that somebody made with the run's id."""
        with self._lock:
            if run_id in self._locations:
                return self._locations[run_id]
        run = self._instance.get_run_by_id(run_id)
        try:
            location = location_of(run) if run else None
        except UnknownLocationError:
            location = None
        if location is not None:
            with self._lock:
                if len(self._locations) >= _REMEMBERED_RUNS:
                    self._locations.clear()
                self._locations[run_id] = location
        return location
