"""dbt as a resource."""

from collections.abc import Sequence
from functools import cached_property
from importlib.metadata import version
from typing import Any

from dagster_dbt import DbtCliResource
from packaging.version import Version

from analytics import project


class LakeDbt(DbtCliResource):
    """dbt of this Python environment, on this location's project."""

    @cached_property
    def _cli_version(self) -> Version:
        # The base class runs `dbt --version`: two seconds a run, and a question to a package index.
        return Version(version("dbt-core"))

    def _initialize_dbt_core_adapter(self, _args: Sequence[str]) -> Any:
        """None: dbt's adapter is not needed to start dbt, and what describes its tables is in metadata.py."""


def make(target: str) -> LakeDbt:
    """The resource for a target of the profile."""
    directory: Any = project.DIRECTORY
    return LakeDbt(project_dir=directory, profiles_dir=directory, target=target, dbt_executable=project.executable())
