"""How a command asks the process that redacts its output: see `supervisor`.

`Capture` sends what the process prints into files, redacted; `hide` names values that must not be printed from now on.
"""

import contextlib
import json
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Iterator

from redaction.supervisor import SECRETS, SOCKET
from redaction.values import Values

# Two seconds would do; a machine that swaps needs longer. The supervisor never waits for anybody but its output.
_PATIENCE_SECONDS = 30
_BATCH_BYTES = 32 * 1024

hidden = Values()
"""What is to be hidden in texts of this process that do not go through its output: secrets, and what it asked for."""
hidden.add_secrets_in(SECRETS)
_lock = threading.Lock()


class NoSupervisorError(RuntimeError):
    """This process' output is not redacted: its container was started without the entry point."""


def hide(values: Iterable[str]) -> None:
    """Let none of these be printed from now on, by any process of this container. Returns when that holds.

    Without a supervisor, as on a developer's machine, this process alone remembers them.
    """
    with _lock:
        texts = hidden.add(values)
    if not texts or not os.environ.get(SOCKET):
        return
    with _connected() as connection:
        batch: list[str] = []
        size = 0
        for text in texts:
            size += len(json.dumps(text)) + 2
            if size > _BATCH_BYTES:
                _ask(connection, {"do": "hide", "values": batch})
                batch, size = [], len(json.dumps(text)) + 2
            batch.append(text)
        _ask(connection, {"do": "hide", "values": batch})


@contextlib.contextmanager
def capture(out: str, err: str) -> Iterator[None]:
    """Within the block, what this process and its children print goes to the files too, redacted.

    Raises `NoSupervisorError` before anything is printed where nobody redacts.
    """
    with _connected() as connection, contextlib.ExitStack() as opened:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        pipes, passed = [], []
        for path in (out, err):
            file = os.open(path, flags, 0o666)
            read, write = os.pipe()
            for descriptor in (file, read):
                opened.callback(os.close, descriptor)
            passed += [read, file]
            pipes.append(write)
        keys = json.loads(_ask(connection, {"do": "capture"}, passed))
        opened.close()
        restore = _redirect(pipes)
        try:
            yield
        finally:
            restore()
            # What is in the pipes must be in the files when the block ends; should nobody answer, the container ends.
            with contextlib.suppress(OSError):
                _ask(connection, {"do": "end", "streams": keys})


def _redirect(pipes: list[int]) -> Callable[[], None]:
    """Put the pipes in the place of standard output and error; gives the function that undoes it."""
    saved = []
    for stream, pipe, target in zip((sys.stdout, sys.stderr), pipes, (1, 2), strict=True):
        stream.flush()
        saved.append(os.dup(target))
        os.dup2(pipe, target)
        os.close(pipe)

    def restore() -> None:
        for stream, copy, target in zip((sys.stdout, sys.stderr), saved, (1, 2), strict=True):
            with contextlib.suppress(ValueError, OSError):
                stream.flush()
            os.dup2(copy, target)
            os.close(copy)

    return restore


@contextlib.contextmanager
def _connected() -> Iterator[socket.socket]:
    name = os.environ.get(SOCKET, "")
    if not name.startswith("@"):
        raise NoSupervisorError(
            f"{SOCKET} is not set: the container's entry point is not the deployment's, and nobody redacts its output"
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.settimeout(_PATIENCE_SECONDS)
        connection.connect("\0" + name[1:])
        yield connection


def _ask(connection: socket.socket, request: dict[str, object], descriptors: Iterable[int] = ()) -> bytes:
    data = json.dumps(request).encode()
    given = list(descriptors)
    if given:
        socket.send_fds(connection, [data], given)
    else:
        connection.send(data)
    reply = connection.recv(4096)
    if not reply or reply.startswith(b"refused"):
        raise ConnectionError(f"the redacting process answered {reply!r} to {request['do']}")
    return reply
