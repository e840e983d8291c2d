"""What callers are shown of a run's container: enough for docker-py and the launcher, nothing of its sandbox."""

from collections.abc import Mapping
from typing import Any

from run_broker.create_request import JOB_NAME_LABEL, LOCATION_LABEL, RUN_ID_LABEL
from run_broker.engine_views import Container, Summary
from run_broker.identity import IMAGE_LABEL, PROJECT_LABEL, ROLE_LABEL, SERVICE_LABEL

# Only labels that the broker wrote; others come from the image.
_SHOWN_LABELS = frozenset(
    (RUN_ID_LABEL, JOB_NAME_LABEL, LOCATION_LABEL, ROLE_LABEL, IMAGE_LABEL, PROJECT_LABEL, SERVICE_LABEL)
)


def redact(container: Container) -> dict[str, Any]:
    """What an inspect answer keeps: enough for docker-py and the launcher, no environment, command or mounts."""
    state = container.state
    image = container.config.labels.get(IMAGE_LABEL, container.config.image)
    return {
        "Id": container.id,
        "Name": container.name,
        "Created": container.created,
        "Image": container.image,
        "State": {
            "Status": state.status,
            "Running": state.running,
            "OOMKilled": state.oom_killed,
            "ExitCode": state.exit_code,
            "Error": state.error,
            "StartedAt": state.started_at,
            "FinishedAt": state.finished_at,
        },
        # docker-py reads Tty before it reads output.
        "Config": {"Image": image, "Labels": _shown(container.config.labels), "Tty": False},
        "HostConfig": {key: container.host_config.get(key, 0) for key in ("Memory", "NanoCpus")},
    }


def redact_summary(row: Summary) -> dict[str, Any]:
    """A row of the list, likewise."""
    return {
        "Id": row.id,
        "Names": row.names,
        "Image": row.labels.get(IMAGE_LABEL, row.image),
        "ImageID": row.image_id,
        "Created": row.created,
        "State": row.state,
        "Status": row.status,
        "Labels": _shown(row.labels),
    }


def _shown(labels: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in labels.items() if key in _SHOWN_LABELS}
