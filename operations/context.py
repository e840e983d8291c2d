"""What every verb gets: the deployment, a way to run programs, a way to tell people, the machine."""

import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from operations import docker
from operations.deployment import Deployment
from operations.errors import StackError
from operations.execute import Executor
from operations.host import Host
from operations.report import Report


@dataclass
class Context:
    """One call of ./stack."""

    deployment: Deployment
    executor: Executor
    report: Report
    host: Host = field(default_factory=Host)

    @cached_property
    def config(self) -> dict[str, Any]:
        """The deployment as Compose resolves it; asked for once a call."""
        result = self.executor.run(docker.config(self.deployment), check=False, timeout=60)
        if not result.ok:
            raise StackError(
                f"Compose refuses the deployment: {result.last_words}",
                "docker-compose.yml, its overlays and .env to make one valid description",
                f"correct it; {self.deployment.stack} check tells more",
            )
        loaded: dict[str, Any] = json.loads(result.stdout)
        return loaded

    @property
    def locations(self) -> list[str]:
        """Names of the code locations, by the label on their services."""
        return [name for name, service in self.config["services"].items() if "code-location" in _labels(service)]

    def containers(self) -> list[docker.Container]:
        """All containers of the deployment, runs included."""
        ids = self.executor.run(docker.containers_of(self.deployment.name)).stdout.split()
        if not ids:
            return []
        # A run may vanish between the two calls: what is left is still told.
        result = self.executor.run(docker.inspect(ids), check=False)
        return docker.parse_inspect(result.stdout)


def _labels(service: dict[str, Any]) -> dict[str, str]:
    labels: dict[str, str] = service.get("labels") or {}
    return labels
