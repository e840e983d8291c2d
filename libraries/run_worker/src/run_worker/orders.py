"""What comes over standard input. An order may come twice (the broker had restarted); after a start nothing is read."""

import json
from dataclasses import dataclass
from typing import BinaryIO


@dataclass(frozen=True)
class Order:
    """The run that is to be executed: its arguments, serialised by Dagster, and the name of its job."""

    arguments: str
    job_name: str


def read_order(stream: BinaryIO) -> Order | None:
    """Wait for the order; None when the input ends without one. Raises `ValueError` for anything else."""
    line = stream.readline()
    if not line:
        return None
    document = json.loads(line)
    return Order(document["arguments"], document["job_name"])


def read_start(stream: BinaryIO) -> bool:
    """Wait for the word to start; False when the input ends without it."""
    return any(json.loads(line).get("start") is True for line in iter(stream.readline, b""))
