"""The asset graph of all locations as a page with diagrams."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from operations.checking.assets import Asset
from operations.checking.problems import Problem
from operations.deployment import Deployment

FILE = "docs/lineage.md"
# Above this a drawing of every asset helps nobody: groups are drawn instead.
MOST_ASSETS = 80
HEAD = """\
# Lineage

Made by `./stack lineage` from the assets that the code locations define; `./stack check` fails when it is stale.
Arrows go from what is read to what is made of it; dashed boxes are made elsewhere. Assets that a component finds while
the deployment runs, such as tables of a source, are not drawn.
"""
Key = tuple[str, ...]


def page(assets: Iterable[Asset]) -> str:
    """The page: how locations depend on each other, then all assets (or, of a large graph, all groups)."""
    drawn = sorted(assets, key=lambda asset: (asset.location, asset.key))
    known = {asset.key: asset for asset in drawn}
    parts = [HEAD, "## Locations\n", _mermaid(_locations(drawn, known))]
    inside = [asset for asset in drawn if not asset.external]
    if len(inside) <= MOST_ASSETS:
        parts += ["## Assets\n", _mermaid(_assets(drawn, known))]
    else:
        parts += [f"## Groups\n\nOf {len(inside)} assets.\n", _mermaid(_groups(drawn, known))]
    return "\n".join(parts)


def check(root: Path, assets: Sequence[Asset]) -> Problem | None:
    """A problem when the page in the repository is not the one that would be made now."""
    path = root / FILE
    if path.is_file() and path.read_text(encoding="utf-8") == page(assets):
        return None
    what = "differs from the definitions" if path.is_file() else "does not exist"
    return Problem(FILE, None, f"{what}; ./stack lineage writes it")


def write(deployment: Deployment, assets: Sequence[Asset]) -> bool:
    """Write the page; False when it says the same already."""
    path, text = deployment.root / FILE, page(assets)
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return False
    path.write_text(text, encoding="utf-8")
    return True


def _mermaid(lines: Iterable[str]) -> str:
    return "\n".join(["```mermaid", "flowchart LR", *lines, "```", ""])


def _locations(drawn: Sequence[Asset], known: Mapping[Key, Asset]) -> list[str]:
    lines, arrows = [], set()
    for name in sorted({asset.location for asset in drawn}):
        number = sum(asset.location == name and not asset.external for asset in drawn)
        lines.append(f'  {_id(name)}["{_text(name)}<br/>{number} assets"]')
    for asset in drawn:
        for dep in asset.deps:
            upstream = known.get(dep)
            if upstream and upstream.location != asset.location:
                arrows.add((upstream.location, asset.location))
    return [*lines, *(f"  {_id(a)} --> {_id(b)}" for a, b in sorted(arrows))]


def _assets(drawn: Sequence[Asset], known: Mapping[Key, Asset]) -> list[str]:
    lines = []
    for location in sorted({asset.location for asset in drawn}):
        lines.append(f'  subgraph {_id("location", location)}["{_text(location)}"]')
        for asset in drawn:
            if asset.location == location:
                short = "/".join(asset.key[1:] if asset.key[0] == location else asset.key)
                lines.append(f'    {_id(*asset.key)}["{_text(short)}"]')
        lines.append("  end")
    elsewhere = sorted({dep for asset in drawn for dep in asset.deps} - set(known))
    lines += [f'  {_id(*key)}["{_text("/".join(key))}"]' for key in elsewhere]
    lines += [f"  {_id(*dep)} --> {_id(*asset.key)}" for asset in drawn for dep in sorted(asset.deps)]
    dashed = [*elsewhere, *(asset.key for asset in drawn if asset.external)]
    if dashed:
        lines += [
            "  classDef elsewhere stroke-dasharray: 4 3",
            f"  class {','.join(_id(*key) for key in dashed)} elsewhere",
        ]
    return lines


def _groups(drawn: Sequence[Asset], known: Mapping[Key, Asset]) -> list[str]:
    lines, arrows = [], set()
    groups = sorted({(asset.location, asset.group) for asset in drawn})
    for location in sorted({location for location, _ in groups}):
        lines.append(f'  subgraph {_id("location", location)}["{_text(location)}"]')
        for place, group in groups:
            if place == location:
                number = sum((asset.location, asset.group) == (place, group) for asset in drawn)
                lines.append(f'    {_id("group", place, group)}["{_text(group)}<br/>{number} assets"]')
        lines.append("  end")
    for asset in drawn:
        for dep in asset.deps:
            upstream = known.get(dep)
            ends = (upstream.location, upstream.group) if upstream else None
            if ends and ends != (asset.location, asset.group):
                arrows.add((ends, (asset.location, asset.group)))
    return [*lines, *(f"  {_id('group', *a)} --> {_id('group', *b)}" for a, b in sorted(arrows))]


def _id(*parts: str) -> str:
    # Mermaid's identifiers are plain, and some words (end, class) are its own; two names never make one.
    return "n_" + "__".join(re.sub(r"[^A-Za-z0-9]", lambda match: f"_{ord(match[0]):x}_", part) for part in parts)


def _text(text: str) -> str:
    """A label: names come from images that others may have built, and a label may hold HTML."""
    return re.sub(r"[^A-Za-z0-9 _./-]", lambda match: f"#{ord(match[0])};", text)
