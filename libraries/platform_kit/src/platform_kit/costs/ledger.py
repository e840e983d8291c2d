"""Which materialisation pays for what.

All that a run's process uses is used for its materialisations, so each one pays for what was used since the one before
it: reading its inputs, its function, its I/O manager's writing, and what came between the two (checks, helper ops, a
failed attempt). What the process needed before it could begin is shared evenly. So the figures of a run add up to
the container's own counter; only what comes after the last materialisation belongs to none.
"""

from collections.abc import Callable, Collection, Hashable, Mapping
from typing import TypeVar

from platform_kit.costs.meter import Meter, Usage

# A mapping's keys are invariant to mypy: this takes a mapping of any hashable keys.
Key = TypeVar("Key", bound=Hashable)


class Ledger:
    """The account of one process."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter
        self._last = Usage()
        self._run: Hashable = None
        self._share = Usage()
        self._kept: dict[Hashable, Usage] = {}
        self._charged: set[Hashable] = set()

    def begin(self, run: Hashable, materialisations: Callable[[], int]) -> None:
        """A step of this run begins, which is to make so many: with its first step, the run's start-up is over."""
        if run != self._run:
            self._run, self._kept, self._charged = run, {}, set()
            self._share = self._since_last().part(1 / max(1, materialisations()))

    def split(self, weights: Mapping[Key, float]) -> None:
        """What was used since the last materialisation belongs to these, in this proportion (all zero: evenly)."""
        total = sum(weights.values())
        used = self._since_last()
        for key, weight in weights.items():
            fraction = weight / total if total else 1 / len(weights)
            self._kept[key] = self._kept.get(key, Usage()) + used.part(fraction)

    def together(self, keys: Collection[Key]) -> None:
        """These were made by one function that returned them all: at the first of them, the work is divided evenly."""
        if len(keys) > 1 and not self._kept.keys() & set(keys) and not self._charged & set(keys):
            self.split(dict.fromkeys(keys, 1))

    def charge(self, key: Hashable) -> Usage:
        """What the materialisation of `key` that is now complete has used."""
        used = self._since_last() + self._kept.pop(key, Usage())
        if key not in self._charged:
            self._charged.add(key)
            used += self._share
        return used

    def _since_last(self) -> Usage:
        now = self.meter.read()
        used, self._last = now - self._last, now
        return used
