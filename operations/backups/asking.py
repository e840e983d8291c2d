"""Questions to the service `backup`, in its running container or in one apart, and its answers: lines of JSON."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from operations import docker, external
from operations.context import Context
from operations.errors import StackError

SERVICE = "backup"
PROGRAM = ("python3", "-m", "backup")


class Answer:
    """Follows the lines of one answer: steps while it lasts, then a result or an error."""

    def __init__(self, on_step: Callable[[str], None]) -> None:
        self._on_step = on_step
        self.found = False
        self.result: Any = None
        self.error: dict[str, str] | None = None
        self.other: list[str] = []

    def line(self, line: str) -> None:
        """One line; what is none of the service's is kept for an error."""
        try:
            message = json.loads(line)
        except ValueError:
            message = None
        if not isinstance(message, dict) or not {"step", "result", "error"} & set(message):
            if line.strip():
                self.other = [*self.other[-9:], line.strip()]
        elif "step" in message:
            self._on_step(str(message["step"]))
        elif "error" in message:
            self.error = message["error"]
        else:
            self.found, self.result = True, message["result"]


def silent(_: str) -> None:
    """For questions that are answered at once."""


def running(context: Context, *question: str, on_step: Callable[[str], None] = silent) -> Any:
    """Ask the service's own container."""
    if "backup" not in context.config["services"]:
        raise StackError(
            f"this deployment has no service backup: its database is {external.database(context)}",
            "the bundled database; another server is backed up by its own means",
            "see to that server's backups (docs/database.md)",
        )
    services = {each.service for each in context.containers() if each.is_service and each.state == "running"}
    if SERVICE not in services:
        raise StackError(
            f"the service backup of {context.deployment.name} does not run",
            "a deployment that is up, with its own database (with another server, that one's backups are used)",
            f"{context.deployment.stack} up",
        )
    return _ask(context, docker.execute(context.deployment, SERVICE, *PROGRAM, *question), on_step)


def alone(context: Context, description: Path, *question: str, on_step: Callable[[str], None] = silent) -> Any:
    """Ask in a container of its own, which that file describes."""
    run = ("run", "--rm", "--no-deps", "--no-TTY", "--quiet-pull", SERVICE)
    command = docker.compose_of(context.deployment, context.deployment.root, [description], *run, *PROGRAM, *question)
    return _ask(context, command, on_step)


def _ask(context: Context, command: Sequence[str], on_step: Callable[[str], None]) -> Any:
    answer = Answer(on_step)
    done = context.executor.stream(command, answer.line, check=False)
    if answer.error:
        raise StackError(answer.error["found"], answer.error.get("expected", ""), answer.error.get("do", ""))
    if not done.ok or not answer.found:
        raise StackError(
            "the service backup broke off: " + ("\n".join(answer.other) or done.last_words),
            "an answer",
            f"{context.deployment.stack} doctor",
        )
    return answer.result
