"""Alembic, imported by whoever first migrates or looks at a revision, and not by each process that opens the storage.

Dagster's storage imports it, with Mako and Pygments behind it, for its migrations alone. Runs never migrate: to them
it was an eighth of all imports, and 8 MB to each process that stays.
"""

import importlib
import sys
from types import ModuleType
from typing import Any

# What Dagster's storage takes from where.
NAMES = {
    "alembic": (),
    "alembic.command": ("downgrade", "stamp", "upgrade"),
    "alembic.config": ("Config",),
    "alembic.runtime": (),
    "alembic.runtime.environment": ("EnvironmentContext",),
    "alembic.runtime.migration": ("MigrationContext",),
    "alembic.script": ("ScriptDirectory",),
}


class Deferred:
    """Stands for a function or a class of a module that is imported when it is called or asked for something."""

    def __init__(self, module: str, name: str) -> None:
        self._place = module, name

    def __call__(self, *args: Any, **named: Any) -> Any:
        return self._real(*args, **named)

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self._real, attribute)

    @property
    def _real(self) -> Any:
        module, name = self._place
        return getattr(importlib.import_module(module), name)


def defer() -> None:
    """Import Dagster's storage with stand-ins. Whoever else imports Alembic, before or after, gets Alembic itself.

    Raises `ImportError` where Dagster asks for a name that is not listed: at once, in every process and every test.
    """
    if "alembic" in sys.modules or "dagster_postgres" in sys.modules:
        return
    for module, names in NAMES.items():
        stand_in = ModuleType(module)
        stand_in.__dict__.update({name: Deferred(module, name) for name in names})
        sys.modules[module] = stand_in
        package, _, own = module.rpartition(".")
        if package:
            setattr(sys.modules[package], own, stand_in)
    try:
        importlib.import_module("dagster_postgres")
    finally:
        for module in NAMES:
            del sys.modules[module]
