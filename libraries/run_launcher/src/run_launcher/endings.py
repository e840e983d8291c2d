"""Why a run's container ended, in words that say what to do."""

import re
from collections.abc import Mapping
from typing import Any

TAIL_LINES = 20
# In every message about it, so that people find such runs and the daemon sees what has been said.
OUT_OF_MEMORY = "out of memory"
_LONGEST_LINE = 500
_KILLED = 128 + 9
# Terminal colours and other control characters; a NUL could not even be stored: Postgres refuses it in text.
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f]")


def was_out_of_memory(attributes: Mapping[str, Any]) -> bool:
    """Whether the kernel killed one of the container's processes at the container's memory limit."""
    return bool(attributes["State"].get("OOMKilled"))


def memory_limit(attributes: Mapping[str, Any]) -> str:
    """The container's memory limit as people write it."""
    limit = attributes.get("HostConfig", {}).get("Memory") or 0
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if limit >= size:
            return f"{limit / size:.4g} {unit}"
    return "none of its own" if not limit else f"{limit} bytes"


def memory_advice(attributes: Mapping[str, Any]) -> str:
    """How a run gets more memory."""
    labels = attributes.get("Config", {}).get("Labels") or {}
    location = labels.get("code-location", "<location>")
    cap = labels.get("run.memory.max")
    upto = f"up to {cap}, the label run.memory.max" if cap else "up to the label run.memory.max"
    return (
        f"Its limit was {memory_limit(attributes)}. Give this run more with the tag run.memory (for example 2g), "
        f"{upto} of the service {location} in docker-compose.yml; or all runs of the location by its label run.memory."
    )


def explain(attributes: Mapping[str, Any], output: str | None = None) -> str:
    """What is known of an ended container: the cause, what to do about it and its last words."""
    state = attributes["State"]
    code = state.get("ExitCode", 0)
    sentences = [f"The run's container ended with exit code {code} before the run had ended."]
    if was_out_of_memory(attributes):
        sentences = [f"The run's container ran {OUT_OF_MEMORY} and was killed (exit code {code})."]
        sentences.append(memory_advice(attributes))
    elif code == _KILLED:
        sentences.append("It was killed (SIGKILL), by an operator or by the kernel when the whole machine was short.")
    elif code > 128:
        sentences.append(f"Signal {code - 128} ended it.")
    elif code == 0:
        sentences.append("Its process ended by itself without a word: look for os._exit() or sys.exit() in the code.")
    if state.get("Error"):
        sentences.append(f"The engine says: {clean(str(state['Error']))}.")
    return " ".join(sentences) + quote(output)


def clean(text: str) -> str:
    """Text without control characters, each line of a bearable length."""
    lines = (_CONTROL.sub("", line) for line in text.replace("\r\n", "\n").split("\n"))
    return "\n".join(line if len(line) <= _LONGEST_LINE else line[:_LONGEST_LINE] + " …" for line in lines)


def quote(output: str | None) -> str:
    """A container's last lines as the end of a message; nothing when they are not to be had."""
    if output is None:
        return ""
    lines = clean(output).strip("\n").splitlines()[-TAIL_LINES:]
    if not lines:
        return "\nThe container wrote nothing."
    return "\nLast lines of the container's output:\n" + "\n".join(f"    {line}" for line in lines)
