"""The loop between a command's pipes and where their content goes, redacted."""

import array
import contextlib
import fcntl
import itertools
import os
import select
import signal
import socket
import struct
import termios
import time

from redaction.stream import Redactor
from redaction.values import Values

# A silence of this length passes on what is complete of a line.
SILENCE_SECONDS = 0.2
_READ = 64 * 1024
LARGEST_REQUEST = 64 * 1024
MOST_DESCRIPTORS = 4
_OK = b"ok"


class _Stream:
    """A pipe that is read, and the descriptors that get its content."""

    __slots__ = ("due", "pipe", "redactor", "targets")

    def __init__(self, pipe: int, targets: list[int], redactor: Redactor) -> None:
        self.pipe = pipe
        self.targets = targets
        self.redactor = redactor
        # When a silence will have lasted long enough.
        self.due: float | None = None


class Relay:
    """Reads pipes, writes what may be seen, serves requests, passes signals on, and waits for the command's end."""

    def __init__(self, listener: int, wake: int, child: int) -> None:
        self._listener = socket.socket(fileno=listener)
        self._wake = wake
        self._child = child
        self._values = Values()
        self._streams: dict[int, _Stream] = {}
        self._captured: dict[int, _Stream] = {}
        self._clients: dict[int, socket.socket] = {}
        self._poll = select.poll()
        self._poll.register(listener, select.POLLIN)
        self._poll.register(wake, select.POLLIN)
        self._keys = itertools.count()
        self._code: int | None = None

    def hide_secrets(self, folder: str) -> None:
        """Hide the content of all files of a folder, wherever it is printed."""
        self._values.add_secrets_in(folder)

    def add(self, pipe: int, targets: list[int]) -> _Stream:
        """Read a pipe from now on."""
        os.set_blocking(pipe, False)
        stream = _Stream(pipe, targets, Redactor(self._values.spans))
        self._streams[pipe] = stream
        self._poll.register(pipe, select.POLLIN)
        return stream

    def run(self) -> int:
        """Until the command has ended; gives the exit code to end with."""
        while self._code is None:
            # Standard output before standard error, where both have something: as near to their order as can be.
            for descriptor, _ in sorted(self._poll.poll(self._patience())):
                self._serve(descriptor)
            now = time.monotonic()
            for stream in self._streams.values():
                if stream.due is not None and stream.due <= now:
                    stream.due = None
                    self._write(stream, stream.redactor.silence())
        # What was printed is in the pipes: nothing more comes from the command, and others' output ends with it.
        for stream in list(self._streams.values()):
            self._drain(stream)
        return self._code

    def _patience(self) -> float | None:
        """Milliseconds until the first silence is long enough; None while nothing is held."""
        due = [stream.due for stream in self._streams.values() if stream.due is not None]
        return max(0.0, min(due) - time.monotonic()) * 1000 + 1 if due else None

    def _serve(self, descriptor: int) -> None:
        if descriptor == self._wake:
            self._signals()
        elif descriptor == self._listener.fileno():
            self._accept()
        elif descriptor in self._streams:
            self._read(self._streams[descriptor])
        elif descriptor in self._clients:
            self._answer(self._clients[descriptor])

    def _signals(self) -> None:
        for number in os.read(self._wake, 4096):
            if number != signal.SIGCHLD:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._child, number)
        pid, status = os.waitpid(self._child, os.WNOHANG)
        if pid:
            code = os.waitstatus_to_exitcode(status)
            self._code = code if code >= 0 else 128 - code

    def _read(self, stream: _Stream) -> None:
        """One piece of a pipe."""
        try:
            data = os.read(stream.pipe, _READ)
        except BlockingIOError:
            return
        if not data:
            self._close(stream)
            return
        self._write(stream, stream.redactor.feed(data))
        stream.due = time.monotonic() + SILENCE_SECONDS if stream.redactor.holds else None

    def _drain(self, stream: _Stream) -> None:
        """What is in the pipe now, and what is held of its last line. Not what a process goes on to print."""
        there = array.array("i", [0])
        fcntl.ioctl(stream.pipe, termios.FIONREAD, there)
        left = there[0]
        while left > 0:
            data = os.read(stream.pipe, min(left, _READ))
            left -= len(data) or left
            self._write(stream, stream.redactor.feed(data))
        self._write(stream, stream.redactor.finish())

    def _close(self, stream: _Stream) -> None:
        self._poll.unregister(stream.pipe)
        del self._streams[stream.pipe]
        self._write(stream, stream.redactor.finish())
        os.close(stream.pipe)
        for target in stream.targets:
            if target > 2:
                os.close(target)

    @staticmethod
    def _write(stream: _Stream, data: bytes) -> None:
        """To all targets; one that cannot take it (a full disk, a closed pipe) loses it, and holds up nobody."""
        if not data:
            return
        for target in stream.targets:
            view = memoryview(data)
            with contextlib.suppress(OSError):
                while view:
                    view = view[os.write(target, view) :]

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            client, _ = self._listener.accept()
            _, user, _ = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            if user != os.geteuid():
                client.close()
                return
            client.setblocking(False)
            self._clients[client.fileno()] = client
            self._poll.register(client, select.POLLIN)

    def _answer(self, client: socket.socket) -> None:
        try:
            data, descriptors, _, _ = socket.recv_fds(client, LARGEST_REQUEST, MOST_DESCRIPTORS)
        except OSError:
            data, descriptors = b"", []
        if not data:
            self._poll.unregister(client)
            del self._clients[client.fileno()]
            client.close()
            return
        import json

        try:
            reply = self._obey(json.loads(data), list(descriptors))
        except (ValueError, KeyError, TypeError, OSError, RecursionError) as error:
            # Whoever runs in this container may ask anything, such as lists in lists ten thousand deep: it must not end
            # what redacts all output.
            reply = f"refused: {type(error).__name__}".encode()
        with contextlib.suppress(OSError):
            client.send(reply)

    def _obey(self, request: dict[str, object], descriptors: list[int]) -> bytes:
        """One request: `hide` these values; `capture` pipes into files; `end` the capture of these pipes."""
        kind = request["do"]
        if kind == "hide":
            values = request["values"]
            if isinstance(values, list):
                self._values.add(str(value) for value in values)
        elif kind == "capture":
            # Of each stream a pipe and a file; what is printed goes to the container's own output as well, but later:
            # whoever sees it there finds it in the file.
            keys = []
            for target, pipe, file in zip((1, 2), descriptors[::2], descriptors[1::2], strict=True):
                keys.append(next(self._keys))
                self._captured[keys[-1]] = self.add(pipe, [file, target])
            return str(keys).encode()
        elif kind == "end":
            ended = request["streams"]
            for key in ended if isinstance(ended, list) else ():
                stream = self._captured.pop(key)
                if self._streams.get(stream.pipe) is stream:
                    self._drain(stream)
        else:
            return b"refused: unknown request"
        return _OK
