"""Lines of .env and .env.example, edited as text: settings come and go with the comments that are theirs alone."""

from collections.abc import Iterable, Sequence


def added(text: str, line: str, neighbours: Sequence[str], comment: str) -> str:
    """The text with a setting behind the last of its neighbours, or at the end under a comment; unless it is there."""
    lines = text.splitlines()
    if any(_key(each) == _key(line) for each in lines):
        return text
    last = max((index for index, each in enumerate(lines) if _key(each) in neighbours), default=None)
    if last is None:
        return "\n".join([*lines, "", comment, line]) + "\n"
    return "\n".join([*lines[: last + 1], line, *lines[last + 1 :]]) + "\n"


def without(text: str, keys: Iterable[str]) -> str:
    """The text without some settings; a comment goes when no setting is left below it, a heading with its block."""
    gone = set(keys)
    blocks = [_block(block.split("\n"), gone) for block in text.rstrip("\n").split("\n\n")]
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def _block(lines: list[str], gone: set[str]) -> list[str]:
    if not any(_key(line) in gone for line in lines):
        return lines
    kept: list[str] = []
    comment: list[str] = []
    lost = False  # whether a setting right below the comment is gone
    for line in [*lines, "#"]:
        if _key(line) in gone:
            lost = True
        elif line.startswith("#"):
            if comment and lost:
                # Nothing was left between this comment and the next one.
                comment = [each for each in comment if each.startswith("# ---")]
            comment, lost = [*comment, line], False
        else:
            kept += [*comment, line]
            comment = []
    return kept


def _key(line: str) -> str:
    return line.partition("=")[0].strip() if not line.startswith("#") else ""
