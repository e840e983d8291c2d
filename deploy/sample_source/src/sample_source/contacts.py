"""People at the airlines, made up: the sample's personal data.

Nobody is called so, no mail arrives at a domain that ends in .example, and no telephone has a number from 555-0100 to
555-0199: all three are set aside for examples.
"""

from typing import Any

NAME = "airline_contacts"
_FIRST = ("Ada", "Bruno", "Carmen", "Dmitri", "Elif", "Farid", "Greta", "Hugo")
_LAST = ("Sampleton", "Exemplar", "Mustermann", "Placeholder")


def contacts_of(airlines: list[dict[str, Any]]) -> list[dict[str, str]]:
    """One contact an airline, the same at every start."""
    found = []
    for number, airline in enumerate(airlines):
        first, last = _FIRST[number % len(_FIRST)], _LAST[number // 2 % len(_LAST)]
        found.append(
            {
                "carrier": airline["carrier"],
                "contact_name": f"{first} {last}",
                "email": f"{first}.{last}@{airline['carrier']}.example".lower(),
                "phone": f"+1 202-555-{100 + number:04}",
            }
        )
    return found
