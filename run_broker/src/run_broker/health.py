"""`python -m run_broker.health`, the container's health check: the broker answers on every socket, and the engine too.

The engine is asked directly, so that a caller who floods its own socket cannot make the broker look ill: any HTTP
answer on a caller's socket is life. Without the broker's own modules, for what a check loads each half minute stays
in memory.
"""

import os
import socket
import sys
from pathlib import Path

from run_broker import sockets

ASK = b"GET /_ping HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
SECONDS = 5.0


def check(engine: Path, folder: Path) -> str:
    """Why the broker is not healthy; empty when it is."""
    paths = [engine, *(sockets.of_caller(folder, caller) for caller in sockets.CALLERS)]
    for path in paths:
        try:
            answer = _answer(path)
        except OSError as error:
            return f"{path}: {error!r}"
        if path == engine and answer.split()[1:2] != [b"200"]:
            return f"{path}: the engine answered {answer.decode(errors='replace')}, expected 200"
    return ""


def _answer(path: Path) -> bytes:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(SECONDS)
        connection.connect(str(path))
        connection.sendall(ASK)
        answer = b""
        while b"\r\n\r\n" not in answer:
            more = connection.recv(4096)
            if not more:
                raise ConnectionError(f"hung up after {answer!r}, expected an answer by HTTP")
            answer += more
    if not answer.startswith(b"HTTP/"):
        raise ConnectionError(f"answered {answer!r}, expected HTTP")
    return answer


def _place(name: str, usual: Path) -> Path:
    # As the broker's settings do: empty is unset.
    return Path(os.environ.get(name) or usual)


if __name__ == "__main__":
    sys.exit(check(_place("ENGINE_SOCKET", sockets.ENGINE), _place("SOCKETS_DIR", sockets.FOLDER)) or None)
