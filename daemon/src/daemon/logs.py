"""The root of all loggers shows what no other one has shown.

Left alone it has no handler until somebody calls `logging.warning`, as Dagster does when the database goes away. Python
then gives it one, and from there on each line of Dagster's own loggers came twice.
"""

import logging


def show_once() -> None:
    """Give the root logger a handler for what has been shown by none."""
    handler = logging.StreamHandler()
    handler.addFilter(_not_shown)
    logging.getLogger().addHandler(handler)


def _not_shown(record: logging.LogRecord) -> bool:
    logger = logging.getLogger(record.name)
    while logger.parent:
        if logger.handlers:
            return False
        logger = logger.parent
    return True
