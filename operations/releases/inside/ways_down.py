"""Runs in a location's image, without a network: what its ways down between two revisions take away, as they read.

Reads: whatever is not known to leave rows alone is told, by its own text. Known are some of Alembic's operations, some
plain statements of SQL, and functions of the same module, which are read as well.
"""

import ast
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from platform_kit.migrations.chain import BASE, find, irreversible

# Of `op`, or of the batch that `op.batch_alter_table` gives.
HARMLESS = frozenset(
    [
        "add_column",
        "batch_alter_table",
        "create_check_constraint",
        "create_exclude_constraint",
        "create_foreign_key",
        "create_index",
        "create_primary_key",
        "create_table",
        "create_table_comment",
        "create_unique_constraint",
        "f",
        "drop_constraint",
        "drop_index",
        "drop_table_comment",
        "get_bind",
        "get_context",
        "inline_literal",
        "rename_table",
    ]
)
# Of a column, only what is named here may change: a type may be a narrower one.
HARMLESS_CHANGES = frozenset(
    [
        "schema",
        "nullable",
        "new_column_name",
        "server_default",
        "comment",
        "existing_type",
        "existing_nullable",
        "existing_server_default",
        "existing_comment",
    ]
)
# What describes a table, as `sa.Column` does; but for what opens a connection of its own.
DESCRIBES = ("sqlalchemy",)
ACTS = ("create_engine", "engine_from_config", "create_mock_engine", "create_pool_from_url")
# Nothing that runs a function of the database: neither brackets about more than names, nor a second statement.
SQL = re.compile(
    r"\s*(CREATE\s+(UNIQUE\s+)?INDEX\s[\w\s\".]*\([\w\s\",]*\)"
    r"|DROP\s+INDEX\s[\w\s\".]*|COMMENT\s+ON\s[\w\s\".]*\sIS\s+(NULL|'[^'\\]*')"
    r"|ALTER\s+TABLE\s[\w\s\".]*\sRENAME\s[\w\s\".]*|SELECT\s+1)\s*;?\s*",
    re.IGNORECASE,
)
ELSEWHERE = "a way down from another module"


def taken(file: Path) -> Iterator[str]:
    """What a revision's way down takes: its module but for `upgrade` is read, so helpers beside it are."""
    module = ast.parse(file.read_text(encoding="utf-8"))
    functions = [part for part in module.body if isinstance(part, ast.FunctionDef)]
    if "downgrade" not in (function.name for function in functions):
        yield ELSEWHERE
    names = Names(module, {function.name for function in functions})
    for function in functions:
        if function.name != "upgrade":
            for call in (node for node in ast.walk(function) if isinstance(node, ast.Call)):
                yield from names.of_call(call)


class Names:
    """What the names of a module mean: Alembic's `op`, SQLAlchemy, its own functions."""

    def __init__(self, module: ast.Module, functions: set[str]) -> None:
        self._modules = dict(_imported(module))
        self._functions = functions
        stored = {
            node.id for node in ast.walk(module) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        }
        stored |= {node.arg for node in ast.walk(module) if isinstance(node, ast.arg)}
        # A name that is given anew means anything.
        self._modules = {name: origin for name, origin in self._modules.items() if name not in stored | functions}
        # What `upgrade` does is not read.
        self._functions -= stored | self._modules.keys() | {"upgrade"}
        self._batches: set[str] = set()
        self._batches = set(self._of_batches(module))

    def of_call(self, call: ast.Call) -> Iterator[str]:
        """What one call takes."""
        origin, name = self._origin(call.func)
        if isinstance(call.func, ast.Attribute) and call.func.attr in ("execute", "exec_driver_sql"):
            yield from self._of_sql(call)
        elif origin == "alembic.op" and name == "alter_column":
            if not {keyword.arg for keyword in call.keywords} <= HARMLESS_CHANGES or len(call.args) > 2:
                yield _told(call)
        elif not (
            (origin == "alembic.op" and name in HARMLESS)
            or (origin == "self" and name in self._functions)
            or (origin in DESCRIBES and name not in ACTS)
            or (origin == "platform_kit.migrations" and name == "IrreversibleError")
        ):
            yield _told(call)

    def _origin(self, function: ast.expr) -> tuple[str, str]:
        """Where what is called comes from, and its own name there; nothing where nobody knows."""
        if isinstance(function, ast.Name):
            if function.id in self._functions:
                return "self", function.id
            origin, _, name = self._modules.get(function.id, "").rpartition(".")
            return origin, name
        if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
            base = function.value.id
            return "alembic.op" if base in self._batches else self._modules.get(base, ""), function.attr
        return "", ""

    def _of_sql(self, call: ast.Call) -> Iterator[str]:
        text = call.args[0] if len(call.args) == 1 and not call.keywords else None
        if isinstance(text, ast.Call) and len(text.args) == 1 and self._origin(text.func) == ("sqlalchemy", "text"):
            text = text.args[0]
        if not (isinstance(text, ast.Constant) and isinstance(text.value, str)):
            yield "SQL that is put together when it runs"
        elif not SQL.fullmatch(text.value):
            yield " ".join(text.value.split())[:120]

    def _of_batches(self, module: ast.Module) -> Iterator[str]:
        for item in (node for node in ast.walk(module) if isinstance(node, ast.withitem)):
            made = item.context_expr
            is_batch = isinstance(made, ast.Call) and self._origin(made.func) == ("alembic.op", "batch_alter_table")
            if is_batch and isinstance(item.optional_vars, ast.Name):
                yield item.optional_vars.id


def _imported(module: ast.Module) -> Iterator[tuple[str, str]]:
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from ((each.asname or each.name.partition(".")[0], each.name) for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((each.asname or each.name, f"{node.module}.{each.name}") for each in node.names)


def _told(call: ast.Call) -> str:
    return ast.unparse(call)[:200]


def main(location: str, newer: str, older: str) -> None:
    """Print it as one line of JSON."""
    chain = find(location)
    if chain is None:
        print(json.dumps({"takes": [], "no_way": []}))
        return
    for revision in (newer, older):
        if revision != BASE and not chain.knows(revision):
            sys.exit(f"{revision} is no revision of this image")
    scripts = chain.between(None if older == BASE else older, newer)
    told = [
        f"{script.revision} ({script.doc}): {each}" for script in reversed(scripts) for each in taken(Path(script.path))
    ]
    print(json.dumps({"takes": list(dict.fromkeys(told)), "no_way": irreversible(scripts)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
