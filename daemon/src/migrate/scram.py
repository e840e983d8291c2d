"""Password verifiers made here, so that no password itself reaches the server, its log or pg_stat_statements."""

import base64
import hashlib
import hmac
import secrets
import unicodedata

ITERATIONS = 4096
_SALT_BYTES = 16


def verifier(password: str, salt: bytes | None = None) -> str:
    """The SCRAM-SHA-256 verifier (RFC 5803) that Postgres stores for a password."""
    salt = salt or secrets.token_bytes(_SALT_BYTES)
    # What SASLprep makes of the characters that passwords have in practice.
    prepared = unicodedata.normalize("NFKC", password).encode()
    salted = hashlib.pbkdf2_hmac("sha256", prepared, salt, ITERATIONS)
    stored = hashlib.sha256(_digest(salted, b"Client Key")).digest()
    server = _digest(salted, b"Server Key")
    return f"SCRAM-SHA-256${ITERATIONS}:{_text(salt)}${_text(stored)}:{_text(server)}"


def _digest(key: bytes, message: bytes) -> bytes:
    return hmac.new(key, message, hashlib.sha256).digest()


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
