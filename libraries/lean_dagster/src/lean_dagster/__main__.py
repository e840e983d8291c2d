"""`python -m lean_dagster ARGUMENTS` is `dagster ARGUMENTS`, for a code server."""

import sys

from lean_dagster import deferred, without_colours


def main() -> None:
    """Dagster's command line. Ends the process, with its exit code."""
    without_colours()

    # A server looks for definitions by a class in here, and would load all storages that tests use: SQLAlchemy, SQLite.
    deferred("dagster._utils.test")
    from dagster._cli import main as dagster

    sys.argv[0] = "dagster"
    dagster()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
