"""Both deployments, from nothing to nothing."""

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from operations import signals
from tests.performance.plain import Plain
from tests.performance.programs import say
from tests.performance.stack import Stack


@dataclass(frozen=True)
class Both:
    """The two that are compared, and how often."""

    plain: Plain
    stack: Stack
    rounds: int


@contextmanager
def both(folder: Path, rounds: int, *, keep: bool) -> Iterator[Both]:
    """Files of both, and at the end none of their containers, volumes, networks and images, unless they are kept."""
    name = f"bench-{uuid.uuid4().hex[:8]}"
    place = folder / name
    place.mkdir(parents=True)
    made: list[Plain | Stack] = []
    with signals.as_interrupts():
        try:
            say("Making the files of both deployments")
            for make, part in ((Plain, "plain"), (Stack, "stack")):
                made.append(make(f"{name}-{part}", place / part))
            plain, stack = made
            assert isinstance(plain, Plain)
            assert isinstance(stack, Stack)
            yield Both(plain, stack, rounds)
        finally:
            # A second Ctrl-C would leave containers behind; killing them takes seconds.
            signals.ignore()
            _end(place, made, keep=keep)


def _end(place: Path, made: list[Plain | Stack], *, keep: bool) -> None:
    kept = [f"Kept, with their files in {place}:", *(f"  {one.name}: {one.address}" for one in made)]
    # Nobody may listen any more.
    with suppress(BrokenPipeError):
        for line in kept if keep else ["Removing both deployments"]:
            say(line)
    if not keep:
        for one in made:
            one.remove()
        shutil.rmtree(place, ignore_errors=True)
