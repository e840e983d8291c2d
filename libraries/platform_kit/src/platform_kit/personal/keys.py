"""Keys of personal data: one a location, a file with a line for each version; the last one seals."""

import base64
import binascii
import os
import secrets
from functools import cache
from pathlib import Path

from platform_kit.environment import Environment, Kind

SECRETS = Path("/run/secrets")
_KEY_BYTES = 32


class PersonalDataError(Exception):
    """Personal data cannot be sealed; the message says what is missing, and never a value."""


def key_file(environment: Environment, location: str) -> Path:
    """Where a location's key is: a secret of the container; on a developer's machine, beside the lakes."""
    name = f"personal_data_key_{location}"
    if environment.kind is Kind.LOCAL:
        return environment.lake_data_path(location).with_name(name)
    return SECRETS / name


def keys_of(environment: Environment, location: str) -> tuple[bytes, ...]:
    """A location's keys, oldest first; none where this one has no right to them."""
    file = key_file(environment, location)
    if not file.is_file():
        return ()
    return _parsed(file, file.read_text(encoding="utf-8"))


def own_keys(environment: Environment) -> tuple[bytes, ...]:
    """This location's keys. A developer's machine makes one, anywhere else a missing one is an error."""
    location = environment.code_location
    file = key_file(environment, location)
    if environment.kind is Kind.LOCAL and not file.exists():
        _make(file)
    keys = keys_of(environment, location)
    if not keys:
        raise PersonalDataError(
            f"{location} writes personal columns, but has no key: expected {file}. Give its block in docker-compose.yml"
            f" the secret {file.name} (docs/personal-data.md); ./stack up makes it. Nothing was written."
        )
    return keys


@cache
def _parsed(file: Path, text: str) -> tuple[bytes, ...]:
    keys = []
    for number, line in enumerate(text.split(), start=1):
        try:
            key = base64.urlsafe_b64decode(line + "=" * (-len(line) % 4))
        except (binascii.Error, ValueError):
            key = b""
        if len(key) != _KEY_BYTES:
            raise PersonalDataError(
                f"line {number} of {file} is no key: expected {_KEY_BYTES} random bytes as URL-safe base64"
            )
        keys.append(key)
    return tuple(keys)


def _make(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f".{file.name}.{os.getpid()}")
    new.write_text(secrets.token_urlsafe(_KEY_BYTES) + "\n", encoding="utf-8")
    new.chmod(0o600)
    try:
        os.link(new, file)  # of two processes at once, the second keeps what the first has made
    except FileExistsError:
        pass
    finally:
        new.unlink()
