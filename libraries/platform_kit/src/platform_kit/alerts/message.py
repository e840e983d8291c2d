"""What an alert says, with nothing in it that a mail server, a chat or a person could take for something else.

Names of jobs and assets, and error messages above all, are the word of a location's code, which may be hostile or
just unlucky: they neither end a line, mention a channel, become a link nor show a password.
"""

import re
import unicodedata
from dataclasses import dataclass

from platform_kit.alerts.policy import is_address
from platform_kit.redaction import redact

_LIMIT = 300
_EVERYBODY = re.compile(r"@(?=(?:here|channel|all|everyone)\b)", re.IGNORECASE)
_LINK = re.compile(r"(?<=[A-Za-z0-9+.-]):(?=//)|(?<=\])(?=\()")
_RUN_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def clean(text: object, limit: int = _LIMIT) -> str:
    """One short line of plain text: no control or invisible characters, no links, no mentions of everybody."""
    line = "".join(_plain(character) for character in redact(str(text)[: 20 * limit]))
    line = _LINK.sub(" ", _EVERYBODY.sub("@ ", " ".join(line.split())))
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _plain(character: str) -> str:
    kind = unicodedata.category(character)
    # Cc, Zl, Zp end lines; Cf hides or turns text round; Co, Cs and Cn have no meaning that could be read.
    return " " if kind[0] in "CZ" else character


def run_link(site: str, run_id: str) -> str:
    """The address of a run in the UI; that of the runs' list when this is no run's id."""
    return f"{site}/runs/{run_id}" if _RUN_ID.fullmatch(run_id) else f"{site}/runs"


@dataclass(frozen=True)
class Alert:
    """What happened, as one line; facts about it; where to look; who is told beside the deployment's receivers."""

    title: str
    facts: tuple[tuple[str, str], ...] = ()
    link: str = ""
    to: tuple[str, ...] = ()

    @property
    def subject(self) -> str:
        """The title as one clean line."""
        return clean(self.title, 150)

    @property
    def text(self) -> str:
        """All of it as plain text."""
        lines = [self.subject, *(f"{clean(name, 40)}: {clean(value)}" for name, value in self.facts if value)]
        return "\n".join([*lines, *([self.link] if self.link else [])])

    @property
    def addresses(self) -> list[str]:
        """E-mail addresses among `to`."""
        return [receiver for receiver in self.to if is_address(receiver)]
