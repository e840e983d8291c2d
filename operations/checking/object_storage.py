"""Who gets which key of the lakes' bucket: a location its own, whoever maintains a lake that one too, others none."""

from collections.abc import Iterator
from pathlib import Path

from operations.checking.problems import Problem
from operations.checking.topology import Model

PARTS = ("s3_key", "s3_key_secret")


def check(model: Model) -> list[Problem]:
    """All keys that are missing or one too many. Nothing, where lakes are in volumes."""
    used = [name for name in model.locations if _environment(model, name).get("LAKE_S3_BUCKET")]
    if not used:
        return []
    problems = [
        model.problem("has no LAKE_S3_BUCKET, while others' lakes are on S3", name, "environment")
        for name in model.locations
        if name in model.services and name not in used
    ]
    return problems + [problem for name in model.services for problem in _keys(model, name)]


def _keys(model: Model, service: str) -> Iterator[Problem]:
    found = {entry["source"]: Path(entry.get("target") or entry["source"]).name for entry in _secrets(model, service)}
    maintained = model.access.machines[service].maintains if service in model.locations else []
    for owner in model.locations:
        for part in PARTS:
            secret, target = f"{owner}_{part}", found.get(f"{owner}_{part}")
            if owner == service and target != f"lake_{part}":
                yield model.problem(f"does not get the secret {secret} as lake_{part}", service, "secrets")
            elif owner in maintained and target != secret:
                yield model.problem(f"does not get {secret}, but maintains {owner}", service, "secrets")
            elif owner != service and owner not in maintained and target is not None:
                yield model.problem(f"gets {secret}, another location's key", service, "secrets")


def _environment(model: Model, name: str) -> dict[str, str]:
    return (model.services.get(name) or {}).get("environment") or {}


def _secrets(model: Model, service: str) -> list[dict[str, str]]:
    return [
        entry if isinstance(entry, dict) else {"source": entry}
        for entry in model.services[service].get("secrets") or ()
    ]
