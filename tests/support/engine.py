"""Stands between the run broker and the engine, and answers in the engine's place when a test wants it to."""

import os
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ENGINE = "/var/run/docker.sock"
REFUSAL = b'{"message": "the test\'s engine has failed"}'
FAILED = b"HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"


class _Connection(socketserver.BaseRequestHandler):
    """One call: the broker opens a connection for each."""

    def handle(self) -> None:
        engine = self.server
        assert isinstance(engine, Engine)
        head = self.request.recv(65536)
        call = head.partition(b"\r\n")[0].decode("latin-1")
        if engine.word and engine.word in call:
            engine.met.append(call)
            if engine.mode == "500":
                self.request.sendall(FAILED % (len(REFUSAL), REFUSAL))
                return
            engine.released.wait(300)
        with socket.socket(socket.AF_UNIX) as behind:
            behind.connect(ENGINE)
            try:
                behind.sendall(head)
                forth = threading.Thread(target=_pass_on, args=(self.request, behind), daemon=True)
                forth.start()
                _pass_on(behind, self.request)
            except OSError:
                return  # The broker has given up on this call.


class Engine(socketserver.ThreadingUnixStreamServer):
    """Passes everything on, but the calls that have `word` in their first line."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        super().__init__(str(path), _Connection)
        os.chmod(path, 0o666)
        self.mode, self.word = "", ""
        self.met: list[str] = []
        self.released = threading.Event()

    @contextmanager
    def failing(self, mode: str, word: str) -> Iterator[list[str]]:
        """Such calls are answered with 500, or hang until the block ends; gives those that were met."""
        self.met, self.mode, self.word = [], mode, word
        self.released.clear()
        try:
            yield self.met
        finally:
            self.word = ""
            self.released.set()


@contextmanager
def standing_between(path: Path) -> Iterator[Engine]:
    """An engine's socket at `path`."""
    with Engine(path) as engine:
        threading.Thread(target=engine.serve_forever, daemon=True).start()
        try:
            yield engine
        finally:
            engine.shutdown()
            path.unlink(missing_ok=True)


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return  # One side has ended the conversation.
