"""Compute logs in a bucket of S3, where Dagster's own S3ComputeLogManager would look for them."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

SYSTEM_AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
_MISSING = ("404", "NoSuchKey", "NotFound")
_FORBIDDEN = ("403", "AccessDenied", "Forbidden")
# A few parts of eight megabytes at once would be a third of the webserver's memory.
_PARTS_AT_ONCE = 2


class BucketSettingError(Exception):
    """A setting of the bucket is missing; the message names it."""


@dataclass(frozen=True)
class BucketSettings:
    """Where the bucket is and what opens it."""

    endpoint: str
    bucket: str
    region: str
    prefix: str
    authority: str
    key: str
    key_secret: str


def from_environment(environment: Mapping[str, str] = os.environ) -> BucketSettings | None:
    """LOGS_S3_*; None without LOGS_S3_BUCKET, as in the daemon. Raises `BucketSettingError` when others are missing."""
    if not environment.get("LOGS_S3_BUCKET"):
        return None
    names = ("ENDPOINT", "BUCKET", "REGION", "PREFIX", "KEY", "KEY_SECRET")
    values = {name.lower(): environment.get(f"LOGS_S3_{name}", "") for name in names}
    missing = [name for name in names if not values[name.lower()]]
    if missing:
        raise BucketSettingError(
            f"LOGS_S3_BUCKET is set, but not {', '.join(f'LOGS_S3_{name}' for name in missing)}: expected all of them, "
            "the key in secrets/logs_s3_key and secrets/logs_s3_key_secret"
        )
    own = Path(environment.get("LOGS_S3_AUTHORITY") or SYSTEM_AUTHORITIES)
    # The secret is there, and empty, where the server's certificate is by an authority that everybody knows.
    known = own.is_file() and own.stat().st_size > 0
    return BucketSettings(**values, authority=str(own) if known else SYSTEM_AUTHORITIES)


class LogBucket:
    """Objects below one prefix. Errors of the client and of the server pass through (`botocore.exceptions`)."""

    def __init__(self, settings: BucketSettings) -> None:
        # Only where it is used: it takes a third of a second to load.
        import boto3
        from botocore.config import Config

        self.settings = settings
        self._client: Any = boto3.session.Session().client(
            "s3",
            endpoint_url=f"https://{settings.endpoint}",
            region_name=settings.region,
            aws_access_key_id=settings.key,
            aws_secret_access_key=settings.key_secret,
            verify=settings.authority,
            config=Config(
                connect_timeout=5,
                read_timeout=20,
                retries={"max_attempts": 2, "mode": "standard"},
                s3={"addressing_style": "path"},
                # Checksums that only Amazon's own server knows; TLS and the signature are enough.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )

    def put(self, name: str, content: IO[bytes]) -> None:
        """Store a stream, in parts where it is long."""
        from boto3.s3.transfer import TransferConfig

        self._client.upload_fileobj(
            *(content, self.settings.bucket, self._key(name)),
            ExtraArgs={"ContentType": "text/plain; charset=utf-8"},
            Config=TransferConfig(max_concurrency=_PARTS_AT_ONCE),
        )

    def get(self, name: str, offset: int, limit: int) -> bytes | None:
        """Part of an object, nothing behind its end; None when there is no such object."""
        from botocore.exceptions import ClientError

        try:
            found = self._client.get_object(
                Bucket=self.settings.bucket, Key=self._key(name), Range=f"bytes={offset}-{offset + limit - 1}"
            )
        except ClientError as error:
            if _code(error) in _MISSING or (_code(error) in _FORBIDDEN and not self.has(name)):
                return None
            if _code(error) in ("416", "InvalidRange"):
                return b""
            raise
        data: bytes = found["Body"].read()
        return data

    def has(self, name: str) -> bool:
        """Whether there is such an object."""
        # Not asked for by HEAD: whoever may list one prefix alone is told 403 there instead of 404.
        key = self._key(name)
        found = self._client.list_objects_v2(Bucket=self.settings.bucket, Prefix=key, MaxKeys=1)
        return any(entry["Key"] == key for entry in found.get("Contents", ()))

    def _key(self, name: str) -> str:
        return f"{self.settings.prefix}/storage/{name}"


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
