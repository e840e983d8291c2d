"""Imports dagster-dbt without dbt and sqlglot: import this before anything else does.

dagster-dbt imports dbt where it finds it, and does without where it does not: dbt is then a command that it starts.
That is all we want of it. sqlglot finds out where columns come from, which a code server never asks. The imports cost
it, and each of its runs, memory and a second.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

# What dagster-dbt takes from where.
LATER = {
    "sqlglot": ("MappingSchema", "exp", "parse_one", "to_table"),
    "sqlglot.expressions": ("normalize_table_name",),
    "sqlglot.lineage": ("lineage",),
    "sqlglot.optimizer": ("optimize",),
}


class Later:
    """Stands for a name of a module that is imported when it is called or asked for something."""

    def __init__(self, module: str, name: str) -> None:
        self._place = module, name

    def __call__(self, *args: Any, **named: Any) -> Any:
        return self._real()(*args, **named)

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self._real(), attribute)

    def _real(self) -> Any:
        module, name = self._place
        return getattr(import_module(module), name)


def _stand_ins() -> dict[str, ModuleType | None]:
    """By module; None is Python's own sign for one that is not to be found."""
    made: dict[str, ModuleType | None] = {"dbt": None}
    for module, names in LATER.items():
        stand_in = ModuleType(module)
        stand_in.__dict__.update({name: Later(module, name) for name in names})
        made[module] = stand_in
    return made


def _import() -> None:
    """An `ImportError` when dagster-dbt takes a name that is not listed."""
    made = {name: module for name, module in _stand_ins().items() if name not in sys.modules}
    sys.modules.update(made)  # type: ignore[arg-type]
    try:
        import_module("dagster_dbt")
    finally:
        for name in made:
            del sys.modules[name]


_import()
