"""A real server of S3 on this machine, SeaweedFS, over TLS by an authority of its own and with the keys of a test."""

import datetime
import hashlib
import hmac
import html
import ipaddress
import json
import os
import re
import socket
import ssl
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from operations import waiting

REGION = "us-east-1"


@dataclass(frozen=True)
class Key:
    """What opens the server: a key's id and its secret."""

    id: str
    secret: str


@dataclass(frozen=True)
class ObjectStore:
    """The server: `endpoint` is host:port, `authority` the file that its certificate is checked by."""

    endpoint: str
    authority: Path
    keys: Mapping[str, Key]
    folder: Path


def certificates(folder: Path, *addresses: str) -> None:
    """`authority.pem`, and `server.pem` with `server.key` by it, for addresses or names."""
    now, keys = datetime.datetime.now(datetime.UTC), [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in ("authority of the tests", "s3")]
    for key, name, file, extension in (
        (keys[0], names[0], "authority", x509.BasicConstraints(ca=True, path_length=None)),
        (keys[1], names[1], "server", x509.SubjectAlternativeName([_name(address) for address in addresses])),
    ):
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(names[0])
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(extension, critical=file == "authority")
            .sign(keys[0], hashes.SHA256())
        )
        (folder / f"{file}.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "server.key").write_bytes(keys[1].private_bytes(serialization.Encoding.PEM, *private))


def _name(address: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(address))
    except ValueError:
        return x509.DNSName(address)


@contextmanager
def running(folder: Path, address: str, rights: Mapping[str, Sequence[str]], port: int = 0) -> Iterator[ObjectStore]:
    """The server at that address of this machine. `rights` are SeaweedFS' actions by who has them, such as
    `Write:bucket/prefix/*`; whoever has none is refused. The functions below need one called operator."""
    port, *inner = port or _free_port(), *(_free_port() for _ in range(3))
    keys = {name: Key(f"key-of-{name}", f"secret-of-{name}-0123456789") for name in rights}
    certificates(folder, address)
    identities = [
        {
            "name": name,
            "credentials": [{"accessKey": keys[name].id, "secretKey": keys[name].secret}],
            "actions": list(actions),
        }
        for name, actions in rights.items()
    ]
    (folder / "s3.json").write_text(json.dumps({"identities": identities}))
    (folder / "data").mkdir(exist_ok=True)
    command = [
        *(str(Path(sys.prefix) / "bin" / "weed"), "server", "-s3", f"-dir={folder / 'data'}", f"-ip={address}"),
        *(f"-ip.bind={address}", f"-master.port={inner[0]}", f"-volume.port={inner[1]}", f"-filer.port={inner[2]}"),
        *(f"-s3.port={port}", f"-s3.config={folder / 's3.json'}", f"-s3.key.file={folder / 'server.key'}"),
        # Its ports for Iceberg and Lance are fixed ones otherwise, and a second server beside the first ends at once.
        *(
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            f"-s3.cert.file={folder / 'server.pem'}",
            "-volume.max=20",
            "-master.volumeSizeLimitMB=64",
        ),
    ]
    authority = ssl.create_default_context(cafile=str(folder / "authority.pem"))

    def answers() -> bool | None:
        if server.poll() is not None:
            raise RuntimeError(f"the server of S3 ended with {server.returncode}: see {folder / 'log'}")
        try:
            urllib.request.urlopen(f"https://{address}:{port}/", context=authority, timeout=5).close()
        except urllib.error.HTTPError as error:
            error.close()
            return True if error.code < 500 else None
        except OSError:
            return None
        return True

    # What is in its environment would be a key that has all rights.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(command, stdout=log, stderr=log, env=environment) as server,
    ):
        try:
            if waiting.until(answers, 90, 0.2) is None:
                raise RuntimeError(f"the server of S3 does not answer after 90 s: see {folder / 'log'}")
            yield ObjectStore(f"{address}:{port}", folder / "authority.pem", keys, folder)
        finally:
            # Asked to end it takes twenty seconds, and nothing of it is to be kept.
            server.kill()


def _free_port() -> int:
    # SeaweedFS also listens on each port and ten thousand more.
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port < 55000:
            return port


def put(store: ObjectStore, bucket: str, key: str, content: bytes) -> None:
    """Stores an object as the operator."""
    _ask(store, "PUT", f"/{bucket}/{key}", content)


def get(store: ObjectStore, bucket: str, key: str) -> bytes:
    """An object, as the operator reads it."""
    return _ask(store, "GET", f"/{bucket}/{key}")


def listing(store: ObjectStore, bucket: str) -> list[str]:
    """The keys of all objects, sorted; at most a thousand."""
    text = _ask(store, "GET", f"/{bucket}", query={"list-type": "2", "max-keys": "1000"}).decode()
    return sorted(html.unescape(key) for key in re.findall(r"<Key>([^<]*)</Key>", text))


def empty(store: ObjectStore, bucket: str) -> None:
    """Makes the bucket, with nothing in it."""
    _ask(store, "PUT", f"/{bucket}", fine=(409,))
    for key in listing(store, bucket):
        _ask(store, "DELETE", f"/{bucket}/{key}")


def _ask(
    store: ObjectStore,
    method: str,
    path: str,
    content: bytes = b"",
    query: Mapping[str, str] | None = None,
    fine: Sequence[int] = (),
) -> bytes:
    """One request as the identity `operator`, signed as S3 wants it (Signature Version 4)."""
    key, now = store.keys["operator"], datetime.datetime.now(datetime.UTC)
    moment, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    digest = hashlib.sha256(content).hexdigest()
    headers = {"host": store.endpoint, "x-amz-content-sha256": digest, "x-amz-date": moment}
    asked = urllib.parse.urlencode(sorted((query or {}).items()), quote_via=urllib.parse.quote)
    place = urllib.parse.quote(path, safe="/~")
    signed = ";".join(headers)
    canonical = "\n".join(
        [method, place, asked, *(f"{name}:{value}" for name, value in headers.items()), "", signed, digest]
    )
    scope = f"{day}/{REGION}/s3/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    secret = f"AWS4{key.secret}".encode()
    for part in (day, REGION, "s3", "aws4_request"):
        secret = hmac.digest(secret, part.encode(), "sha256")
    signature = hmac.digest(secret, text.encode(), "sha256").hex()
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={key.id}/{scope}, SignedHeaders={signed}, Signature={signature}"
    )
    request = urllib.request.Request(
        f"https://{store.endpoint}{place}?{asked}", method=method, headers=headers, data=content or None
    )
    authority = ssl.create_default_context(cafile=str(store.authority))
    try:
        with urllib.request.urlopen(request, context=authority, timeout=30) as answer:  # noqa: S310  https alone
            found: bytes = answer.read()
    except urllib.error.HTTPError as error:
        if error.code not in fine:
            raise RuntimeError(f"{method} {path}: {error.code} {error.read().decode()[:300]}") from None
        return b""
    return found
