"""What a run or a code location gets to know of the instance.

Dagster hands its whole configuration to each process that acts for it, and that process imports every class named
there. A location's image has none of the deployment's classes and must not need them; nor is it any of its business
how runs are launched. So only the storage, the log directory and the settings that a run itself obeys cross over.
"""

import re

import yaml
from dagster._core.instance.ref import InstanceRef
from dagster._core.storage.dagster_run import DagsterRun
from dagster._serdes import ConfigurableClassData

LOGS = "/var/lib/dagster/logs"
# A run's root file system is read-only. Values between its steps live and end with its container.
ARTIFACTS = "/tmp/dagster"  # noqa: S108 - a private tmpfs of the container
# What a run's own process reads: whether it will be retried, pools, the form of its logs.
RUN_SETTINGS = ("telemetry", "python_logs", "run_monitoring", "run_retries", "concurrency", "freshness")
_LOCATION = re.compile(r"[a-z][a-z0-9_]{0,30}", re.ASCII)


class UnknownLocationError(Exception):
    """A run that names no code location of the workspace."""


def location_of(run: DagsterRun) -> str:
    """The code location a run belongs to, as the workspace calls it.

    Read from the origin that webserver or daemon wrote from workspace.yaml: tags and the rest are the location's word.
    """
    origin = run.remote_job_origin
    name = origin.repository_origin.code_location_origin.location_name if origin else None
    if name is None or not _LOCATION.fullmatch(name):
        raise UnknownLocationError(
            f"Run {run.run_id} names no code location of workspace.yaml (found {name!r}), so there is no container to "
            "copy for it. Launch it from the UI, a schedule or a sensor of a location that is loaded."
        )
    return name


def location_reference(reference: InstanceRef) -> InstanceRef:
    """The instance as a location's code server and runs get it.

    Their logs go to the directory under which the host's services see all locations': in a location's container it is
    the mount point of its own volume, so it need not know its name and cannot reach another's.
    """
    plain = InstanceRef.config_defaults(ARTIFACTS)
    return reference._replace(
        local_artifact_storage_data=_class("dagster._core.storage.root", "LocalArtifactStorage", ARTIFACTS),
        # Both redact, and are in every location's image (docs/personal-data.md says what one without them does).
        compute_logs_data=_class("redaction.compute_logs", "RedactedComputeLogManager", LOGS),
        run_coordinator_data=plain["run_coordinator"],
        run_launcher_data=plain["run_launcher"],
        # The three are copies of storage_data for releases from before 2022; they would only lengthen the command line.
        run_storage_data=None,
        event_storage_data=None,
        schedule_storage_data=None,
        custom_instance_class_data=ConfigurableClassData("redaction.instance", "RedactingInstance", "{}\n"),
        secrets_loader_data=None,
        defs_state_storage_data=None,
        settings={key: value for key, value in reference.settings.items() if key in RUN_SETTINGS},
    )


def _class(module: str, name: str, base_dir: str) -> ConfigurableClassData:
    return ConfigurableClassData(module, name, yaml.dump({"base_dir": base_dir}, default_flow_style=False))
