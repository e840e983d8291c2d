"""Runs inside a location's image: loads its definitions and prints what they say of each asset, as one line of JSON.

Standard output holds that line alone; whatever the definitions print themselves goes to standard error.
"""

import contextlib
import inspect
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

APP = Path(os.environ.get("APP", "/app"))
STUB = "dagster/auto_created_stub_asset"


def main() -> int:
    """Load, validate, print. A location that does not load says why on standard error."""
    with contextlib.redirect_stdout(sys.stderr):
        graph = load(f"{os.environ['CODE_LOCATION_PACKAGE']}.definitions").asset_graph
        nodes = [graph.get(key) for key in sorted(graph.get_all_asset_keys())]
        # What another location defines is here a name only.
        assets = [describe(node) for node in nodes if STUB not in node.metadata]
        checks = [[*key.asset_key.path, key.name] for key in sorted(graph.asset_check_keys)]
    print(json.dumps({"assets": assets, "checks": checks}))
    return 0


def load(module: str) -> Any:
    """The module's definitions as a repository, with all jobs and schedules resolved, as a code server makes it."""
    from dagster._core.definitions.reconstruct import repository_def_from_target_def
    from dagster._core.workspace.autodiscovery import loadable_targets_from_python_module

    target = loadable_targets_from_python_module(module, working_directory=None)[0].target_definition
    repository = repository_def_from_target_def(target)
    if repository is None:
        raise TypeError(f"{module} holds {type(target).__name__}; expected Definitions, or a function that makes them")
    repository.load_all_definitions()
    return repository


def describe(node: Any) -> dict[str, Any]:
    """What standards and diagrams need to know of an asset."""
    file, line = place(node)
    schema, lineage = _value(node, "dagster/column_schema"), _value(node, "dagster/column_lineage")
    return {
        "key": list(node.key.path),
        "deps": [list(key.path) for key in sorted(node.parent_keys)],
        "external": not node.is_materializable,
        "group": node.group_name,
        "owners": list(node.owners),
        "kinds": sorted(node.kinds),
        "description": node.description or "",
        "tags": dict(node.tags),
        "partitioned": node.is_partitioned,
        "columns": [_column(column) for column in schema.columns] if schema else [],
        "lineage": _lineage(lineage) if lineage else {},
        "file": file,
        "line": line,
    }


def _value(node: Any, key: str) -> Any:
    value = node.metadata.get(key)
    return getattr(value, "value", value)


def _column(column: Any) -> dict[str, Any]:
    return {"name": column.name, "type": column.type, "tags": dict(column.tags or {})}


def _lineage(value: Any) -> dict[str, list[list[str]]]:
    return {
        column: [[*dep.asset_key.path, dep.column_name] for dep in deps]
        for column, deps in value.deps_by_column.items()
    }


def place(node: Any) -> tuple[str | None, int | None]:
    """Where an asset is defined, below the location's folder: the YAML of a component, a dbt model, or the function."""
    references = node.metadata.get("dagster/code_references")
    for reference in references.code_references if references else ():
        if found := _inside(getattr(reference, "file_path", "")):
            return found, reference.line_number
    if found := _dbt_file(node):
        return found, None
    function = getattr(node.assets_def.op.compute_fn, "decorated_fn", None) if node.is_executable else None
    if function is None:
        return None, None
    function = inspect.unwrap(function)
    return _inside(inspect.getsourcefile(function) or ""), function.__code__.co_firstlineno


def _dbt_file(node: Any) -> str | None:
    wrapper, unique_id = _value(node, "dagster_dbt/manifest"), _value(node, "dagster_dbt/unique_id")
    if wrapper is None or unique_id is None:
        return None
    wanted = wrapper.manifest["nodes"].get(unique_id, {}).get("original_file_path", "")
    return next((_inside(str(path)) for path in sorted(APP.rglob(wanted))), None) if wanted else None


def _inside(path: str) -> str | None:
    full = Path(path).resolve()
    return str(full.relative_to(APP)) if path and full.is_relative_to(APP) else None


def tell(error: BaseException) -> None:
    """The whole story, and its beginning once more: the last lines are shown, and a wrapper's explain nothing."""
    traceback.print_exception(error)
    first = error
    while cause := first.__cause__ or (None if first.__suppress_context__ else first.__context__):
        first = cause
    if first is not error:
        print(f"{type(first).__name__}: {first}", file=sys.stderr)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Exception as error:
        tell(error)
        sys.exit(1)
