"""The contract of a location's image, looked at where the image is on this machine. docs/locations says it in words."""

import json
from typing import Any

from operations.checking.definitions import SANDBOX
from operations.context import Context

PORT = "4000/tcp"
# Nobody's address: what comes back tells whether the entry point redacts. The two libraries are what runs load.
ADDRESS = "nobody@example.com"
LOOK = (
    f"import importlib.metadata as m; print('{ADDRESS}'); import pooled_storage, redaction.instance; "
    "print(m.version('dagster'))"
)


def shortcomings(context: Context, name: str, image: str, dagster: str) -> list[str] | None:
    """What the image lacks to serve as location `name`; None when the image is not here."""
    found = context.executor.run(["docker", "image", "inspect", image], check=False)
    if not found.ok:
        return None
    config: dict[str, Any] = json.loads(found.stdout)[0]["Config"]
    lacks = []
    label = (config.get("Labels") or {}).get("code-location")
    if label != name:
        lacks.append(f"its label code-location is {label!r}; expected {name!r}")
    if not config.get("Entrypoint"):
        lacks.append("it has no entry point; expected one that execs its arguments")
    user = str(config.get("User") or "").partition(":")[0]
    if not user.isdecimal() or int(user) == 0:
        lacks.append(f"its user is {config.get('User') or 'root'!r}; expected a number that is not 0")
    if PORT not in (config.get("ExposedPorts") or {}):
        lacks.append(f"it exposes {', '.join(config.get('ExposedPorts') or ()) or 'no port'}; expected {PORT}")
    # Through the entry point, which so proves that it execs its arguments.
    asked = context.executor.run(["docker", "run", *SANDBOX, image, "python", "-c", LOOK], check=False, timeout=120)
    version = asked.stdout.strip().splitlines()[-1:] or [asked.last_words]
    if version != [dagster]:
        lacks.append(f"its entry point and python say of dagster's version: {version[0]}; expected {dagster}")
    if ADDRESS in asked.stdout:
        lacks.append("its entry point does not redact what is printed (docs/personal-data.md has three lines for it)")
    return lacks
