"""Changes to the repository that happen together or not at all.

They are drafted in a second tree, `.stack/location/tree`: the repository by links, and files where something differs.
There they are checked as a whole. Then a journal is written and the changes are carried over; whoever finds a journal
(the first ./stack after a crash) carries over the rest.
"""

import fcntl
import json
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from operations.errors import StackError
from operations.locations.yaml_text import YamlText

SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
# Of no use to the checks, or where the draft itself is.
NOT_LINKED = {".stack", ".git", ".venv"}


class Draft:
    """Edited, new and removed files, by their path from the repository's root."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.tree = _area(root) / "tree"
        self.new_folder: str | None = None
        self._texts: dict[str, str] = {}
        self._yaml: dict[str, YamlText] = {}
        self._gone: list[str] = []

    def yaml(self, file: str) -> YamlText:
        """A YAML file to edit."""
        if file not in self._yaml:
            self._yaml[file] = YamlText(file, self.read(file))
        return self._yaml[file]

    def read(self, file: str) -> str:
        """The text as it is to be."""
        return self._texts[file] if file in self._texts else (self.root / file).read_text(encoding="utf-8")

    def write(self, file: str, text: str) -> None:
        """Replace a file's text, or make the file; a YAML file is read anew."""
        self._texts[file] = text
        self._yaml.pop(file, None)

    def remove(self, path: str) -> None:
        """Remove a file or a folder."""
        self._yaml.pop(path, None)
        self._gone.append(path)

    def texts(self) -> dict[str, str]:
        """Every file whose text differs from what is there."""
        found = {**self._texts, **{file: edited.text for file, edited in self._yaml.items()}}
        return {
            file: text
            for file, text in found.items()
            if file not in self._gone
            and (not (self.root / file).is_file() or (self.root / file).read_text(encoding="utf-8") != text)
        }

    def lay_out(self) -> None:
        """Make the second tree."""
        changed = [Path(path) for path in (*self.texts(), *self._gone, *([self.new_folder] if self.new_folder else []))]
        _link(self.root, self.tree, changed)
        for file, text in self.texts().items():
            path = self.tree / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    def carry_over(self) -> None:
        """Bring the changes into the repository."""
        texts = self.texts()
        journal = {"write": sorted(texts), "move": self.new_folder, "remove": self._gone}
        path = _journal(self.root)
        aside = path.with_suffix(".new")
        for file, text in texts.items():
            _store(self.tree / file, text)
        _store(aside, json.dumps(journal))
        with _put_off():
            os.replace(aside, path)
            _apply(self.root)


@contextmanager
def _put_off() -> Iterator[None]:
    """Whoever asks the process to end waits until the block has. (To block the signals would block them for this thread
    alone, and any other would be interrupted in its place.)"""
    came: list[int] = []
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in before.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, lambda number, _: came.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for each in came:
            os.kill(os.getpid(), each)


@contextmanager
def drafting(root: Path) -> Iterator[Draft]:
    """A draft, alone in this checkout; whatever is not carried over leaves nothing behind."""
    with _alone(root):
        _recover(root)
        draft = Draft(root)
        try:
            draft.tree.mkdir(parents=True)
            yield draft
        finally:
            if not _journal(root).exists():
                shutil.rmtree(_area(root), ignore_errors=True)


def finish(root: Path) -> None:
    """Carry over what a crash interrupted."""
    if _journal(root).exists():
        with _alone(root):
            _recover(root)


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """The lock of a verb is its deployment's; the files are the checkout's, which several deployments may share."""
    path = root / ".stack" / "location.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StackError(
                "another ./stack location is at work in this checkout",
                "one at a time",
                "wait for it to end, then repeat",
            ) from error
        yield


def _recover(root: Path) -> None:
    if _journal(root).exists():
        _apply(root)
    # Without a journal nothing was begun: the draft of a killed call.
    shutil.rmtree(_area(root), ignore_errors=True)


def _apply(root: Path) -> None:
    """Each step may have been done before, wholly or in part."""
    tree, path = _area(root) / "tree", _journal(root)
    journal = json.loads(path.read_text(encoding="utf-8"))
    if journal["move"] and (tree / journal["move"]).exists():
        os.rename(tree / journal["move"], root / journal["move"])
    for file in journal["write"]:
        # In place: containers mount the file itself, and would keep the old one if another took its name.
        target = root / file
        target.parent.mkdir(parents=True, exist_ok=True)
        _store(target, (tree / file).read_text(encoding="utf-8"))
    for gone in journal["remove"]:
        target = root / gone
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)
    path.unlink()


def _store(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _link(source: Path, target: Path, changed: list[Path], here: Path = Path()) -> None:
    target.mkdir(parents=True, exist_ok=True)
    below = {path.relative_to(here).parts[0] for path in changed if path.is_relative_to(here) and path != here}
    for entry in source.iterdir():
        place = here / entry.name
        if place in changed or entry.name in NOT_LINKED:
            continue
        if entry.name in below:
            _link(entry, target / entry.name, changed, place)
        else:
            (target / entry.name).symlink_to(entry)


def _area(root: Path) -> Path:
    return root / ".stack" / "location"


def _journal(root: Path) -> Path:
    return _area(root) / "journal.json"
