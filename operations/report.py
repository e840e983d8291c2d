"""How verbs tell people what happens: one line a step with its time, a live line while it lasts on a terminal."""

import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape
from rich.segment import Segment

# What moves a terminal's cursor, has it answer, or turns text around. Names come from people, from pull requests and
# from what their builds print: they are shown, and do nothing.
UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")
# A word that nobody reads to its end.
LONG = re.compile(r"\S{400,}")


def plain(text: str) -> str:
    """The text with every character that is not seen spelled out."""
    return UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


class Plain:
    """Anything that can be shown, with its text made plain."""

    def __init__(self, shown: RenderableType) -> None:
        self._shown = shown

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        """Called by rich. Its own control codes are no text."""
        for part in console.render(self._shown, options):
            yield part if part.control else Segment(plain(part.text), part.style)


class Step:
    """A step that is under way."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self._show = show
        self.outcome = ""

    def update(self, text: str) -> None:
        """What it does at the moment."""
        self._show(text)

    def done(self, text: str) -> None:
        """What came out of it."""
        self.outcome = text


def _width() -> int | None:
    # Into a file or a pipe tables go as wide as they are, instead of being cut at 80 columns.
    return None if sys.stdout.isatty() else 200


class Report:
    """Writes for people to one console, diagnostics to another."""

    def __init__(self, console: Console | None = None, errors: Console | None = None, verbose: bool = False) -> None:
        self.console = console or Console(highlight=False, soft_wrap=True, width=_width())
        self.errors = errors or Console(stderr=True, highlight=False, soft_wrap=True)
        self.verbose = verbose

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """One step: its title while it lasts, its outcome and time afterwards."""
        begin = time.monotonic()
        if self.console.is_terminal and not self.verbose:
            with self.console.status(escape(plain(title))) as status:
                step = Step(
                    lambda text: status.update(f"{escape(plain(title))} [dim]{escape(plain(text[:100]))}[/dim]")
                )
                yield step
        else:
            step = Step(lambda _: None)
            yield step
        outcome = f": {step.outcome}" if step.outcome else ""
        took = time.monotonic() - begin
        self.console.print(f"[green]✓[/green] {escape(plain(title + outcome))} [dim]({took:.1f} s)[/dim]")

    def say(self, text: str = "") -> None:
        """A plain line."""
        self.console.print(escape(plain(text)))

    def show(self, renderable: RenderableType) -> None:
        """A table or the like."""
        self.console.print(Plain(renderable))

    def warn(self, text: str) -> None:
        """Something to know that stops nothing."""
        self.errors.print(f"[yellow]![/yellow] {escape(plain(text))}")

    def problem(self, found: str, expected: str, do: str) -> None:
        """An error or a finding: what, what should be, what to do."""
        found, expected, do = (LONG.sub(lambda word: f"{word[0][:60]}…", plain(text)) for text in (found, expected, do))
        self.errors.print(f"[red]✗[/red] {escape(found)}")
        if expected:
            self.errors.print(f"  expected: {escape(expected)}")
        if do:
            self.errors.print(f"  do: {escape(do)}")

    def log(self, line: str) -> None:
        """Every command and its output, when that was asked for."""
        if self.verbose:
            self.errors.print(escape(plain(line)), style="dim")
