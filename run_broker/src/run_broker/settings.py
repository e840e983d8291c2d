"""Settings, from environment variables; the only module that reads them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from run_broker import sockets
from run_broker.units import parse_cpus, parse_duration, parse_memory


def _duration(value: Any) -> Any:
    return parse_duration(value) if isinstance(value, str) else value


def _memory(value: Any) -> Any:
    return parse_memory(value) if isinstance(value, str) else value


def _cpus(value: Any) -> Any:
    return parse_cpus(value) if isinstance(value, str) else value


Duration = Annotated[float, BeforeValidator(_duration), Field(gt=0)]
Memory = Annotated[int, BeforeValidator(_memory)]
Cpus = Annotated[int, BeforeValidator(_cpus)]


class SettingsError(Exception):
    """A setting has a value that cannot be used."""


class Settings(BaseModel):
    """Every setting, its default and its limits. Each is the environment variable of the same name in capitals."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    engine_socket: Path = sockets.ENGINE
    sockets_dir: Path = sockets.FOLDER
    # Empty: the broker asks the engine which Compose project its own container belongs to.
    project: str = ""

    run_keep_succeeded: Duration = 600.0
    # The evidence of a failure is kept longer: exit code, out-of-memory mark and output are read from the container.
    run_keep_failed: Duration = 86400.0
    run_keep_never_started: Duration = 300.0
    run_keep_max: int = Field(default=200, ge=0)
    run_max_live: int = Field(default=100, ge=1)
    run_default_memory: Memory = 1024**3
    run_default_cpus: Cpus = 10**9
    run_default_pids: int = Field(default=512, ge=16, le=32768)
    # Containers that wait for a run: all locations' together (0: none), how long one may wait, for how long nobody must
    # have asked for a run before more are made, and what the machine must have left.
    run_warm_max: int = Field(default=16, ge=0)
    run_warm_max_age: Duration = 3600.0
    run_warm_quiet: Duration = 2.0
    run_warm_min_free: Memory = 1024**3
    run_stop_timeout: int = Field(default=30, ge=30, le=300)

    broker_workers: int = Field(default=16, ge=2, le=64)
    broker_backlog: int = Field(default=64, ge=1, le=1024)
    broker_request_timeout: Duration = 10.0
    broker_engine_timeout: Duration = 60.0
    broker_reap_interval: Duration = 30.0
    # Below the service's stop grace period, and long enough for most stops of runs that are under way.
    broker_drain_timeout: Duration = 50.0

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Settings":
        """Read the settings; an unset or empty variable means the default, an unusable one is an error."""
        known = {name: environment[name.upper()] for name in cls.model_fields if environment.get(name.upper())}
        try:
            return cls.model_validate(known)
        except ValidationError as error:
            problems = [f"{str(e['loc'][0]).upper()}={e['input']!r}: {e['msg']}" for e in error.errors()]
            raise SettingsError("; ".join(problems)) from error
