"""Where the server differs from the plan, by name."""

from dataclasses import dataclass

from provisioning.expected import NOTHING, Facts


@dataclass(frozen=True)
class Drift:
    """One fact that is not as it should be."""

    place: str
    what: str
    found: str
    expected: str

    def __str__(self) -> str:
        return f"{self.place}: {self.what}: found {self.found}, expected {self.expected}"


def compare(expected: Facts, found: Facts) -> list[Drift]:
    """All facts that differ. What is found and said nowhere in the plan counts when it is a right or a power."""
    return [
        Drift(*fact, found.get(fact, NOTHING), expected.get(fact, NOTHING))
        for fact in sorted({*expected, *found})
        if found.get(fact, NOTHING) != expected.get(fact, NOTHING) and not _is_free(fact, expected)
    ]


def _is_free(fact: tuple[str, str], expected: Facts) -> bool:
    """Whether the plan leaves this to others: further settings are the role's own, further triggers Dagster's."""
    place, what = fact
    return fact not in expected and (" in " in what or place.startswith("trigger "))
