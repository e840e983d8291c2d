"""The end of a run's process: everything is done that a program may ask for, then nothing is taken apart."""

import atexit
import os
import sys
import threading
from typing import NoReturn


def end(code: int) -> NoReturn:
    """Wait for threads, call what was registered for the exit, write what was printed, and be gone.

    Python would then free each of Dagster's modules and objects, one after the other: 0.4 s of processor time a run,
    for memory that goes back with the process anyhow.
    """
    # What the interpreter itself calls first; it waits for threads that are no daemons.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        # None where a program closed it for good. What cannot be written is an error, as to Python itself.
        if stream is not None and not stream.closed:
            try:
                stream.flush()
            except OSError:
                code = code or 1
    os._exit(code)
