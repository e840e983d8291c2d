"""A location's revisions: where they are, that they make one line, and which of them can be undone."""

import ast
import inspect
import textwrap
import traceback
import warnings
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alembic.config import Config
from alembic.script import Script, ScriptDirectory
from alembic.script.revision import RevisionError
from alembic.util import CommandError

from platform_kit.migrations import MigrationError, place

if TYPE_CHECKING:
    from sqlalchemy import MetaData

# Of every location, in its own database: `alembic_version` there tells which revision its tables are at. Apart from the
# tables' own schemas, so that it can be read without loading models, and from `public`, which is the lake's catalog.
SCHEMA = "migrations"
BASE = "base"
_CATALOG = "public"
_ENVIRONMENT = Path(__file__).with_name("alembic_environment")


@dataclass(frozen=True)
class Chain:
    """The revisions of one location, oldest first, in one line."""

    location: str
    package: str
    versions: Path

    @cached_property
    def config(self) -> Config:
        """Alembic's settings: this library's environment, the location's revisions."""
        config = Config(cmd_opts=Namespace(quiet=True))
        for name, value in {
            "script_location": str(_ENVIRONMENT),
            "version_locations": str(self.versions),
            "path_separator": "os",
            "file_template": "%(year)d%(month).2d%(day).2d_%(rev)s_%(slug)s",
        }.items():
            config.set_main_option(name, value.replace("%", "%%"))
        return config

    @cached_property
    def scripts(self) -> ScriptDirectory:
        """The revisions as Alembic reads them. Raises `MigrationError` when they make no line, with the reason."""
        scripts = ScriptDirectory.from_config(self.config)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            try:
                heads = scripts.get_heads()
            except (CommandError, KeyError) as error:
                raise MigrationError(f"{self.versions}: {_first(told) or error}") from None
            except Exception as error:
                raise MigrationError(
                    f"{self.versions}: a revision does not load: {where(error, self.versions)}"
                ) from None
        if problem := _first(told):
            raise MigrationError(f"{self.versions}: {problem}; each revision's down_revision must be there, once")
        if len(heads) > 1:
            raise MigrationError(
                f"{self.versions}: {len(heads)} revisions have no successor: {', '.join(sorted(heads))}; expected one: "
                "set down_revision of the one that came later to the other"
            )
        return scripts

    @property
    def head(self) -> str | None:
        """The newest revision; None when there is none."""
        return self.scripts.get_current_head()

    def knows(self, revision: str) -> bool:
        """Whether the revision is among these."""
        return any(script.revision == revision for script in self.scripts.walk_revisions())

    def find(self, name: str) -> str | None:
        """The revision that a person means: whole, or its beginning, or `base` (None)."""
        if name == BASE:
            return None
        found = sorted(s.revision for s in self.scripts.walk_revisions() if s.revision.startswith(name))
        if name in found:
            return name
        if len(found) != 1:
            raise MigrationError(
                f"{name!r} is {'several revisions' if found else 'no revision'} of {self.location}; "
                f"expected one of {', '.join(found or self.revisions()) or 'none: there are no revisions'}, or base"
            )
        return found[0]

    def revisions(self) -> list[str]:
        """All of them, oldest first."""
        return [script.revision for script in reversed(list(self.scripts.walk_revisions()))]

    def between(self, older: str | None, newer: str | None) -> list[Script]:
        """The revisions after `older` up to `newer`, oldest first; nothing when `older` is not before `newer`."""
        if older == newer or newer is None:
            return []
        try:
            return list(reversed(list(self.scripts.iterate_revisions(newer, older or BASE))))
        except RevisionError:
            return []

    @cached_property
    def metadata(self) -> "MetaData":
        """The location's models: what its tables should be."""
        name = f"{self.package}.migrations"
        try:
            metadata: Any = getattr(import_module(name), "metadata", None)
        except Exception as error:
            raise MigrationError(f"{name} does not load: {type(error).__name__}: {error}") from error
        from sqlalchemy import MetaData

        if not isinstance(metadata, MetaData):
            raise MigrationError(f"{name} has no `metadata`: expected the MetaData of the location's models there")
        for table in metadata.tables.values():
            if table.schema in (None, _CATALOG, SCHEMA):
                raise MigrationError(
                    f"the model of {table.name} is in schema {table.schema}: expected one of the location's own, for "
                    f"{_CATALOG} holds the lake's catalog, and {SCHEMA} which revision the tables are at"
                )
        return metadata


def find(location: str) -> Chain | None:
    """The location's revisions; None when it has no package `migrations`."""
    folder = place.folder(location)
    return Chain(location, place.package_of(location), folder / "versions") if folder else None


def irreversible(scripts: Sequence[Script]) -> list[str]:
    """Why revisions cannot be undone, as far as reading them tells: `<revision>: <reason>`."""
    found = ((script, no_way_down(script)) for script in scripts)
    return [f"{script.revision} ({script.doc}): {reason}" for script, reason in found if reason]


def no_way_down(script: Script) -> str | None:
    """Why a revision cannot be undone; None when it can.

    A `downgrade()` that is a docstring alone leaves things as they are on purpose, and the docstring says why.
    """
    function = getattr(script.module, "downgrade", None)
    if function is None:
        return "it has no downgrade()"
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    body = tree.body[0].body if isinstance(tree.body[0], ast.FunctionDef) else []
    if len(body) == 1 and _is_text(body[0]):
        return None
    if all(isinstance(line, ast.Pass) or _is_text(line) for line in body):
        return "its downgrade() is empty"
    for line in body:
        if isinstance(line, ast.Raise) and isinstance(line.exc, ast.Call):
            name = ast.unparse(line.exc.func).rpartition(".")[2]
            if name == "IrreversibleError":
                return _text_of(line.exc) or "it raises IrreversibleError"
    return None


def where(error: BaseException, versions: Path) -> str:
    """What went wrong, with the line of the revision that it went wrong in."""
    told = getattr(error, "orig", None) or error  # without the statement and its values, which may be people's
    message = f"{type(told).__name__}: {' '.join(str(told).split())}"
    if isinstance(error, SyntaxError):
        return f"{Path(error.filename or '').name}:{error.lineno}: {message}"
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).parent == versions]
    return f"{Path(own[-1].filename).name}:{own[-1].lineno}: {message}" if own else message


def _first(told: Sequence[warnings.WarningMessage]) -> str:
    return next((str(one.message) for one in told if "evision" in str(one.message)), "")


def _is_text(line: ast.stmt) -> bool:
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant) and isinstance(line.value.value, str)


def _text_of(call: ast.Call) -> str:
    first = call.args[0] if call.args else None
    return str(first.value) if isinstance(first, ast.Constant) else ast.unparse(first) if first else ""
