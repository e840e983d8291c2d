"""retention.yaml, and what a run may say instead."""

from pathlib import Path
from typing import Annotated, Any

import yaml
from dagster import Config
from pydantic import BaseModel, ConfigDict, Field

FILE = Path(__file__).with_name("retention.yaml")

Days = Annotated[int, Field(ge=0, le=36500)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _Age(_Part):
    days: Days


class _Lake(_Part):
    snapshot_days: Days
    file_days: Days
    orphan_days: Annotated[int, Field(ge=1, le=36500)]
    small_files: Annotated[int, Field(ge=2)]
    small_file_bytes: Annotated[int, Field(ge=1)]


class _Settings(_Part):
    events: _Age
    runs: _Age
    compute_logs: _Age
    lake: _Lake


def read(text: str) -> _Settings:
    """The settings. Raises `pydantic.ValidationError`, which names the key and what is legal."""
    document: Any = yaml.safe_load(text)
    return _Settings.model_validate(document)


SETTINGS = read(FILE.read_text(encoding="utf-8"))


class EventRetention(Config):
    """How long events are kept."""

    days: Days = SETTINGS.events.days
    dry_run: bool = False


class RunRetention(Config):
    """How long the records of runs are kept."""

    days: Days = SETTINGS.runs.days
    dry_run: bool = False


class LogRetention(Config):
    """How long compute logs are kept."""

    days: Days = SETTINGS.compute_logs.days
    dry_run: bool = False


class LakeRetention(Config):
    """How long snapshots and files of a lake are kept, and which files are small."""

    snapshot_days: Days = SETTINGS.lake.snapshot_days
    file_days: Days = SETTINGS.lake.file_days
    orphan_days: Annotated[int, Field(ge=1, le=36500)] = SETTINGS.lake.orphan_days
    small_files: Annotated[int, Field(ge=2)] = SETTINGS.lake.small_files
    small_file_bytes: Annotated[int, Field(ge=1)] = SETTINGS.lake.small_file_bytes
    dry_run: bool = False
