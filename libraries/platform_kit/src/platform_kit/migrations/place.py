"""Where a location's migrations are. Without Alembic, so that whoever has none neither needs nor loads it."""

import sys
from importlib.util import find_spec
from pathlib import Path

from platform_kit.environment import setting


def package_of(location: str) -> str:
    """The Python package of a code location."""
    return setting("CODE_LOCATION_PACKAGE", location)


def folder(location: str) -> Path | None:
    """The folder of the package `migrations`; None when the location has none. Nothing of the location is imported."""
    try:
        spec = find_spec(package_of(location))
    except ValueError:  # a module without a spec, such as __main__
        spec = getattr(sys.modules.get(package_of(location)), "__spec__", None)
    for root in (spec.submodule_search_locations or ()) if spec else ():
        if (path := Path(root) / "migrations").joinpath("__init__.py").is_file():
            return path
    return None
