"""What of a deployment is on the host alone and has to come back: settings, secrets, releases, the commit.

./stack writes it down after each command that may have changed it, into a file among the secrets that the service
`backup` mounts. Passwords of the database are not in it, for `up` draws them and `migrate` sets them; nor is what opens
the repository, for that is needed before anything can be read.
"""

import json
from pathlib import Path
from typing import Any

from operations import secret_files
from operations.context import Context
from operations.deployment import Deployment

NAME = "deployment_record"
VERSION = 1
# Of the folder .stack: who did what, which releases of locations are in force, of which release the data is.
STATE = ("audit.jsonl", "releases.jsonl", "release.json")


def is_kept(name: str) -> bool:
    """Whether a secret is part of the record."""
    if name.startswith((".", "backup_")) or name in (NAME, "gateway_token"):
        return False
    return not name.endswith("_database_password") and name not in (
        "postgres_password",
        "dagster_password",
        "dagster_owner_password",
    )


def write(context: Context) -> bool:
    """Write it; False where there is nothing to write yet."""
    deployment = context.deployment
    directory = deployment.secrets()
    if not deployment.env_file.exists() or not directory.is_dir():
        return False
    text = json.dumps(collect(context, deployment, directory), sort_keys=True)
    path = directory / NAME
    if path.is_file():
        if path.read_text(encoding="utf-8") != text:
            secret_files.rewrite(path, text)
        return True
    return secret_files.create(path, text)


def collect(context: Context, deployment: Deployment, directory: Path) -> dict[str, Any]:
    """The record as it is now."""
    run = context.executor.run
    commit = run(["git", "rev-parse", "HEAD"], check=False, timeout=20).stdout.strip()
    changed = run(["git", "status", "--porcelain"], check=False, timeout=20).stdout.splitlines()
    files = sorted(path for path in directory.iterdir() if path.is_file() and is_kept(path.name))
    state = [deployment.state / name for name in STATE]
    return {
        "version": VERSION,
        "deployment": deployment.name,
        "commit": commit,
        "changed_files": [line[3:] for line in changed][:200],
        "settings": deployment.env_file.read_text(encoding="utf-8"),
        "secrets": {path.name: path.read_text(encoding="utf-8") for path in files},
        "state": {path.name: path.read_text(encoding="utf-8") for path in state if path.is_file()},
    }
