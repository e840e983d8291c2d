"""A command with its output redacted: what the entry point of every Python image becomes.

The command's standard output and error are pipes; this process reads them, redacts and passes on. It is the command's
parent: signals go to the command, its exit code is this process' own, and should this process die, the container ends:
no output is ever passed on as it is. The command starts before the patterns are loaded: both happen at once.

The command can ask, over a socket whose name is in REDACTION_SOCKET, for more: files that get what it prints (compute
logs), and values to hide. See `client`.
"""

# The two modules beneath `signal` and `socket`: those take 8 ms to load, which every container would wait for.
import _signal  # type: ignore[import-not-found]
import _socket
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # `typing` itself takes 10 ms
    from typing import NoReturn

SOCKET = "REDACTION_SOCKET"
SECRETS = "/run/secrets/"
# A file that is larger is no secret.
LARGEST_SECRET = 64 * 1024
# What asks a process to do something goes to the command; faults of this process and its closed pipes are its own.
_FORWARDED = (
    *(_signal.SIGHUP, _signal.SIGINT, _signal.SIGQUIT, _signal.SIGTERM, _signal.SIGUSR1, _signal.SIGUSR2),
    *(_signal.SIGALRM, _signal.SIGWINCH, _signal.SIGIO, _signal.SIGURG, _signal.SIGPWR, _signal.SIGVTALRM),
)
# Python ignores these two; a command that inherited that would not notice a closed pipe.
_IGNORED = (_signal.SIGPIPE, _signal.SIGXFSZ)
_NOT_FOUND, _NOT_EXECUTABLE = 127, 126


def main(command: list[str]) -> "NoReturn":
    """Load secrets and run the command. Ends with its exit code, or 128 and the number of the signal that ended it."""
    if not command:
        os.write(2, b"entrypoint: expected a command\n")
        os._exit(2)
    environment = load_secrets(dict(os.environ))
    # `docker exec` has its parent outside: its output goes to whoever asked, and is nowhere stored.
    if os.getppid() == 0 and os.getpid() != 1:
        become(command, environment)
    supervise(command, environment)


def load_secrets(environment: dict[str, str]) -> dict[str, str]:
    """For each X_FILE that names a secret, X with its content: a secret is in the process alone, never in a record of
    the container. Only files below /run/secrets/ are: SSL_CERT_FILE and others mean the file."""
    for name, path in list(environment.items()):
        if name.endswith("_FILE") and os.path.normpath(path).startswith(SECRETS) and os.access(path, os.R_OK):
            with open(path, encoding="utf-8", errors="surrogateescape") as file:
                environment[name.removesuffix("_FILE")] = file.read(LARGEST_SECRET).rstrip("\n")
    return environment


def become(command: list[str], environment: dict[str, str]) -> "NoReturn":
    """Replace this process by the command."""
    for number in _IGNORED:
        _signal.signal(number, _signal.SIG_DFL)
    try:
        os.execvpe(command[0], command, environment)  # noqa: S606
    except OSError as error:
        _refuse(command[0], error)


def supervise(command: list[str], environment: dict[str, str]) -> "NoReturn":
    """Start the command between pipes, and redact until it ends."""
    name = f"\0redaction-{os.urandom(16).hex()}"
    environment[SOCKET] = "@" + name[1:]
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    os.set_blocking(wake_read, False)
    for number in (*_FORWARDED, _signal.SIGCHLD):
        _signal.signal(number, _noted)
    _signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    pipes = [os.pipe(), os.pipe()]
    listener = _listen(name)
    child = _start(command, environment, [write for _, write in pipes])
    for _, write in pipes:
        os.close(write)
    from redaction.relay import Relay

    relay = Relay(listener.detach(), wake_read, child)
    relay.hide_secrets(SECRETS)
    for (read, _), target in zip(pipes, (1, 2), strict=True):
        relay.add(read, [target])
    os._exit(relay.run())


def _noted(number: int, frame: object) -> None:
    """The number is in the pipe already; without a handler the signal would act on this process."""


def _listen(name: str) -> _socket.socket:
    listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_NONBLOCK | _socket.SOCK_CLOEXEC)
    listener.bind(name)
    listener.listen(64)
    return listener


def _start(command: list[str], environment: dict[str, str], outputs: list[int]) -> int:
    actions = [(os.POSIX_SPAWN_DUP2, pipe, target) for pipe, target in zip(outputs, (1, 2), strict=True)]
    try:
        return os.posix_spawnp(
            *(command[0], command, environment), file_actions=actions, setsigdef=_IGNORED
        )  # fmt: skip
    except OSError as error:
        _refuse(command[0], error)


def _refuse(name: str, error: OSError) -> "NoReturn":
    os.write(2, f"entrypoint: {name}: {error.strerror}\n".encode())
    os._exit(_NOT_FOUND if isinstance(error, FileNotFoundError) else _NOT_EXECUTABLE)


if __name__ == "__main__":
    main(sys.argv[1:])
