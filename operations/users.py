"""Who may sign in: the two files that the gateway reads, one line a user, rewritten in place."""

import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import bcrypt

from operations import secret_files
from operations.errors import StackError

NAME = re.compile(r"[a-z0-9][a-z0-9._@-]{0,63}")
# About a second, as much as Caddy spends on a name it does not know, so that the time does not tell who exists. The
# gateway remembers what it has checked; somebody who guesses pays each time.
ROUNDS = 14
LIMIT = 72


@dataclass(frozen=True)
class User:
    """One person."""

    name: str
    password_hash: str
    groups: tuple[str, ...] = ()


class Users:
    """The users of one deployment."""

    def __init__(self, directory: Path) -> None:
        self._users = directory / "gateway_users"
        self._groups = directory / "gateway_groups"

    def read(self) -> dict[str, User]:
        """All users by name."""
        secret_files.complete(self._users.parent)
        groups = dict(self._lines(self._groups))
        return {
            name: User(name, digest, tuple(part for part in groups.get(name, "").strip('"').split(",") if part))
            for name, digest in self._lines(self._users)
        }

    def write(self, users: Iterable[User]) -> None:
        """Write both files; groups first, so that no user is there for a moment without their limits."""
        people = sorted(users, key=lambda user: user.name)
        for path, lines in (
            (self._groups, [f'{user.name} "{",".join(user.groups)}"' for user in people]),
            (self._users, [f"{user.name} {user.password_hash}" for user in people]),
        ):
            text = "".join(f"{line}\n" for line in lines)
            if not secret_files.create(path, text):
                secret_files.rewrite(path, text)

    def _lines(self, path: Path) -> list[tuple[str, str]]:
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StackError(
                f"{path} cannot be read: {error.strerror}", "files of the user who runs this", "repeat with sudo"
            ) from error
        pairs = []
        for number, line in enumerate(text.splitlines(), 1):
            if not line.strip() or line.startswith("#"):
                continue
            name, _, rest = line.strip().partition(" ")
            if not NAME.fullmatch(name) or not rest:
                raise StackError(
                    f"{path}:{number}: {name!r} is not a line of this file", "a name and a value", "correct this line"
                )
            pairs.append((name, rest.strip()))
        return pairs


def check_name(name: str, what: str = "user") -> str:
    """A name that is safe in a header, in a file with one line a user, and in a log."""
    if not NAME.fullmatch(name):
        raise StackError(
            f"{name!r} is no name for a {what}",
            "1 to 64 of a-z, 0-9, '.', '_', '@' and '-', beginning with a letter or digit",
            "choose another",
        )
    return name


def check_password(password: str) -> str:
    """A password that bcrypt takes whole and a browser can send."""
    if len(password) < 8:
        raise StackError(f"the password has {len(password)} characters", "at least 8", "choose a longer one")
    if len(password.encode()) > LIMIT:
        # bcrypt would look at the first 72 bytes alone, and take any other ending as well.
        raise StackError(f"the password has {len(password.encode())} bytes", f"at most {LIMIT}", "choose a shorter one")
    if any(ord(character) < 32 or ord(character) == 127 for character in password):
        raise StackError("the password has a control character", "printable characters", "choose another")
    return password


def new_password() -> str:
    """For people who were not given one."""
    return secrets.token_urlsafe(18)


def new_user(name: str, password: str, groups: Iterable[str]) -> User:
    """A user with the hash of this password."""
    digest = bcrypt.hashpw(check_password(password).encode(), bcrypt.gensalt(ROUNDS)).decode()
    return User(check_name(name), digest, _groups(groups))


def with_groups(user: User, groups: Iterable[str]) -> User:
    """The same user in other groups."""
    return replace(user, groups=_groups(groups))


def _groups(groups: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(check_name(group, "group") for group in groups))
