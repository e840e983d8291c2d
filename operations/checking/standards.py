"""That definitions keep to code_locations/standards.yaml, and that column lineage leads to columns that exist."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from operations.checking.assets import Asset
from operations.checking.problems import Problem

FILE = "code_locations/standards.yaml"
# What Dagster calls the group of an asset that names none.
NO_GROUP = "default"
Found = tuple[str, str]  # what is wrong, and the word to look for in the asset's file


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Exemption(_Part):
    """A rule that does not hold for an asset, and why."""

    asset: str
    rule: str
    because: str


class Standards(_Part):
    """The content of standards.yaml."""

    names: str
    table_prefixes: dict[str, str]
    timestamps: dict[str, list[str]]
    required: list[str]
    exceptions: list[Exemption]


def load(root: Path) -> Standards:
    """Read standards.yaml. Raises `ValueError` that names the key."""
    try:
        standards = Standards.model_validate(yaml.safe_load((root / FILE).read_text(encoding="utf-8")))
        re.compile(standards.names)
    except ValidationError as error:
        first = error.errors()[0]
        legal = ", ".join(Standards.model_fields)
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}; legal keys: {legal}") from error
    except (OSError, yaml.YAMLError, re.error) as error:
        raise ValueError(str(error)) from error
    for name in standards.required:
        if name not in SAYS:
            raise ValueError(f"required: {name!r} is nothing that an asset says; legal: {', '.join(SAYS)}")
    for exemption in standards.exceptions:
        if exemption.rule not in RULES:
            raise ValueError(f"exceptions: {exemption.rule!r} is no rule; legal: {', '.join(RULES)}")
        if not exemption.because.strip():
            raise ValueError(f"exceptions: {exemption.asset} says no reason; `because` is for the next reader")
    return standards


def check(root: Path, assets: Sequence[Asset]) -> list[Problem]:
    """All lines that do not keep to the standards."""
    try:
        standards = load(root)
    except ValueError as error:
        return [Problem(FILE, None, str(error))]
    everything = {asset.key: asset for asset in assets}
    problems = list(_unused(standards, everything))
    exempt = {(each.asset, each.rule) for each in standards.exceptions}
    for asset in assets:
        for rule, judge in RULES.items():
            if (asset.name, rule) not in exempt:
                problems += [_problem(root, asset, rule, found) for found in judge(standards, asset, everything)]
    return problems


def _unused(standards: Standards, everything: Mapping[tuple[str, ...], Asset]) -> Iterator[Problem]:
    known = {asset.name for asset in everything.values()}
    for each in standards.exceptions:
        if each.asset not in known:
            yield Problem(FILE, None, f"exceptions: no asset is called {each.asset}")


def _problem(root: Path, asset: Asset, rule: str, found: Found) -> Problem:
    message, word = found
    file, line = asset.file or f"code_locations/{asset.location}", asset.line
    path = root / file
    if path.is_file() and word:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        pattern = re.compile(rf"(?<!\w){re.escape(word)}(?!\w)")
        line = next((number for number, text in enumerate(lines, 1) if pattern.search(text)), line)
    return Problem(file, line, f"{asset.name}: {message} [{rule}]")


def _keys(standards: Standards, asset: Asset, _: Mapping[tuple[str, ...], Asset]) -> Iterator[Found]:
    if asset.external:
        # Somebody else's, who calls it as they like.
        return
    if len(asset.key) != 3 or asset.key[0] != asset.location:
        yield f"expected a key of the form {asset.location}/schema/table", asset.key[-1]
    for part in asset.key:
        if not re.fullmatch(standards.names, part):
            yield f"the name {part!r} does not match {standards.names}", part


def _prefixes(standards: Standards, asset: Asset, _: Mapping[tuple[str, ...], Asset]) -> Iterator[Found]:
    if asset.external or len(asset.key) != 3:
        return
    schema, table = asset.key[1:]
    wanted = standards.table_prefixes.get(schema)
    if wanted and not table.startswith(wanted):
        yield f"tables of the schema {schema} begin with {wanted}", table
    for other, prefix in standards.table_prefixes.items():
        if other != schema and table.startswith(prefix):
            yield f"{prefix} is for tables of the schema {other}", table


def _columns(standards: Standards, asset: Asset, _: Mapping[tuple[str, ...], Asset]) -> Iterator[Found]:
    if asset.external:
        return
    for column in asset.columns:
        if not re.fullmatch(standards.names, column.name):
            yield f"the column {column.name!r} does not match {standards.names}", column.name
        for wanted, others in standards.timestamps.items():
            if column.name.lower() in others:
                yield f"the column {column.name} is to be called {wanted}", column.name
            known = column.type not in ("", "?")
            if column.name == wanted and known and not column.type.upper().startswith("TIMESTAMP"):
                yield f"the column {wanted} is a {column.type}; expected a TIMESTAMP", column.name


def _required(standards: Standards, asset: Asset, _: Mapping[tuple[str, ...], Asset]) -> Iterator[Found]:
    for name in standards.required:
        says, wanted = SAYS[name]
        if not says(asset):
            yield f"has no {name}: expected {wanted}", asset.key[-1]


def _lineage(_: Standards, asset: Asset, everything: Mapping[tuple[str, ...], Asset]) -> Iterator[Found]:
    own = {column.name for column in asset.columns}
    for column, sources in asset.lineage.items():
        if own and column not in own:
            yield f"has lineage for {column}, which is no column of it", column
        for *key, source in sources:
            upstream = everything.get(tuple(key))
            name = "/".join(key)
            if upstream is None or upstream.key not in asset.deps:
                what = "no asset is called so" if upstream is None else "it does not depend on it"
                yield f"{column} is said to come from {name}, but {what}", column
            elif upstream.columns and source not in {each.name for each in upstream.columns}:
                yield f"{column} is said to come from {name}.{source}, which has no such column", column


SAYS: dict[str, tuple[Callable[[Asset], bool], str]] = {
    "owners": (lambda asset: any(owner.startswith("team:") for owner in asset.owners), "team:… among them"),
    "group": (lambda asset: asset.group not in ("", NO_GROUP), "a group that is not default"),
    "description": (lambda asset: bool(asset.description), "a sentence that says what its rows are"),
    "kinds": (lambda asset: bool(asset.kinds), "what it is made with, such as dbt, polars, python"),
}
RULES: dict[str, Callable[[Standards, Asset, Mapping[tuple[str, ...], Asset]], Iterator[Found]]] = {
    "keys": _keys,
    "prefixes": _prefixes,
    "columns": _columns,
    "required": _required,
    "lineage": _lineage,
}
