"""Dagster's processes without what they import and never use: a quarter of the memory of an idle code server.

Whatever is left out is there for whoever does use it.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec, module_from_spec
from typing import Any


@contextmanager
def absent(*packages: str) -> Iterator[None]:
    """Who imports one of these packages meanwhile does not find it. What was imported before stays."""
    missing = [name for name in packages if name not in sys.modules]
    # None is Python's own sign for it.
    sys.modules.update(dict.fromkeys(missing))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in missing:
            del sys.modules[name]


def without_colours() -> None:
    """Import those who colour tracebacks where they can; nobody sees colours in a container's log."""
    with absent("rich"):
        import structlog  # noqa: F401


def without_alembic() -> None:
    """Import Dagster's storage by the package that keeps Alembic out, before Dagster does."""
    import pooled_storage  # noqa: F401


def deferred(name: str) -> None:
    """Have a package's own code executed when something of it is used, and not for a module inside it."""
    spec = find_spec(name)
    if name in sys.modules or spec is None or spec.loader is None:
        return
    package, loader = module_from_spec(spec), spec.loader

    def execute(attribute: str) -> Any:
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        del package.__dict__["__getattr__"]
        loader.exec_module(package)
        return getattr(package, attribute)

    package.__dict__["__getattr__"] = execute
    sys.modules[name] = package
