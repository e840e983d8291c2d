"""Where the sample finds its data and its secrets: the only reader of the environment."""

import os
from pathlib import Path


def data_directory() -> Path:
    """The directory of the CSV files."""
    return Path(os.environ.get("SAMPLE_DATA_DIRECTORY", "/opt/sample-data"))


def secret(name: str) -> str:
    """A secret's content; an empty or missing one stops the service at once."""
    path = Path(os.environ.get("SAMPLE_SECRETS_DIRECTORY", "/run/secrets")) / name
    try:
        content = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise SystemExit(f"Cannot read the secret {path}: {error.strerror}. Mount it as a Compose secret.") from None
    if not content:
        raise SystemExit(f"The secret {path} is empty. Write a long random value into it.")
    return content
