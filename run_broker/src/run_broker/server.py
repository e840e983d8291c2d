"""One socket a caller, each with its own listener, its own bounded queue and its own workers.

Nothing is shared between the callers but the engine, so that a flood on one socket leaves the other as it was.
"""

import os
import queue
import socket
import threading
import time
from pathlib import Path

from run_broker.audit import Audit, Decision
from run_broker.handlers import Handlers
from run_broker.http_message import RequestReader, Response, send_response
from run_broker.settings import Settings

# Connections that the listener has not taken yet. It takes them at once, and turns away what finds no place in the
# queue with an answer; a caller that does not find a place here gets an error without one.
KERNEL_BACKLOG = 128


class CallerServer:
    """The server on one caller's socket."""

    def __init__(self, caller: str, path: Path, handlers: Handlers, audit: Audit, settings: Settings) -> None:
        """Nothing is bound yet."""
        self._caller = caller
        self._path = path
        self._handlers = handlers
        self._audit = audit
        self._settings = settings
        self._waiting: queue.Queue[socket.socket | None] = queue.Queue(settings.broker_backlog)
        self._stopping = threading.Event()
        self._dropped = 0
        self._reported = 0.0
        names = [f"{caller}-{number}" for number in range(settings.broker_workers)]
        self._workers = [threading.Thread(target=self._work, name=name, daemon=True) for name in names]
        self._listener = threading.Thread(target=self._listen, name=f"{caller}-listener", daemon=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)

    def start(self) -> None:
        """Bind the socket, replacing what an earlier broker left there, and serve."""
        self._path.unlink(missing_ok=True)
        self._socket.bind(str(self._path))
        # Whoever has the volume may connect: the callers run as other users.
        os.chmod(self._path, 0o666)  # noqa: S103
        self._socket.listen(KERNEL_BACKLOG)
        for thread in (*self._workers, self._listener):
            thread.start()

    def stop_listening(self) -> None:
        """Accept nothing more. Wakes the listener, which close alone would not."""
        self._stopping.set()
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def finish(self, deadline: float) -> bool:
        """Wait until the accepted requests are answered; False when `deadline` comes first."""
        for _ in self._workers:
            try:
                self._waiting.put(None, timeout=max(0.0, deadline - time.monotonic()))
            except queue.Full:
                return False
        for worker in self._workers:
            worker.join(max(0.0, deadline - time.monotonic()))
        return not any(worker.is_alive() for worker in self._workers)

    def _listen(self) -> None:
        while not self._stopping.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError as error:
                if not self._stopping.is_set():
                    self._audit.log.write("error", caller=self._caller, error=f"accept: {error!r}")
                    self._stopping.wait(0.1)
                continue
            try:
                self._waiting.put_nowait(connection)
            except queue.Full:
                self._drop(connection)

    def _drop(self, connection: socket.socket) -> None:
        """Turn a connection away at once; one log line a second says how many, so that a flood is no flood of lines."""
        self._audit.metrics.count("run_broker_connections_dropped_total", caller=self._caller)
        self._dropped += 1
        if time.monotonic() - self._reported >= 1:
            self._audit.log.write("busy", caller=self._caller, decision="refused", status=503, dropped=self._dropped)
            self._dropped, self._reported = 0, time.monotonic()
        busy = {"message": "the run broker has too many requests of this caller; try again", "reason": "busy"}
        try:
            connection.setblocking(False)
            connection.send(Response.of_json(503, busy, **{"Retry-After": "1"}).to_bytes())
        except OSError:
            pass  # The peer is gone, or reads nothing: it gets no answer.
        finally:
            connection.close()

    def _work(self) -> None:
        while (connection := self._waiting.get()) is not None:
            with connection:
                self._serve(connection)

    def _serve(self, connection: socket.socket) -> None:
        seconds = self._settings.broker_request_timeout
        decision = Decision(self._caller)
        reader = RequestReader(connection, seconds, decision)
        response = self._handlers.answer(reader.read, decision)
        if response is None:
            return
        try:
            send_response(connection, response, seconds)
        except OSError:
            self._audit.metrics.count("run_broker_answers_lost_total", caller=self._caller)
