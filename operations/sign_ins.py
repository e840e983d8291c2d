"""Who failed to sign in, from what the gateway has logged. It counts nothing itself and locks nobody out."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator

from operations.errors import Finding

# In an hour. A person who has forgotten a password gives up sooner.
MANY = 20
NAMED = 3


def failures(lines: Iterable[str]) -> Counter[str]:
    """How often a name or a password was wrong, by address. A browser's first request, which has neither, is none."""
    found: Counter[str] = Counter()
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and entry.get("signs_in") == "yes" and entry.get("status") == 401:
            found[str(entry.get("request", {}).get("client_ip", "an unknown address"))] += 1
    return found


def findings(lines: Iterable[str]) -> Iterator[Finding]:
    """One when there were many in the hour that was logged."""
    found = failures(lines)
    if found.total() < MANY:
        return
    most = ", ".join(f"{count} from {address}" for address, count in found.most_common(NAMED))
    others = f", and from {len(found) - NAMED} more addresses" if len(found) > NAMED else ""
    yield Finding(
        "sign-in",
        f"{found.total()} failed in the last hour: {most}{others}",
        "a name or a password was wrong each time: somebody guesses, or a client has an old password",
        "if it is nobody of yours, keep the address out by the machine's firewall, or put single sign-on in front"
        " (docs/sign-in.md); nobody is locked out meanwhile",
    )
