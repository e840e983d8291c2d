"""Optional files of the deployment that have lines for each location: a way out, a key, an index."""

from collections.abc import Iterable
from typing import Any

from operations.locations.draft import Draft
from operations.locations.scaffold import Wish
from operations.locations.yaml_text import YamlText

OVERLAYS = "deploy/overlays"
EXTERNAL_POSTGRES, PRIVATE_INDEX = f"{OVERLAYS}/external-postgres.yml", f"{OVERLAYS}/private-index.yml"
S3_LAKE = f"{OVERLAYS}/s3-lake.yml"
# The one location that keeps all others in order, where there is one.
KEEPER = "platform"

S3_BLOCK = """\
  {name}:
    environment: *s3-lake
    secrets: [lake_s3_authority, {{source: {name}_s3_key, target: lake_s3_key}}, {own}]
"""


def add(draft: Draft, wish: Wish, others: Iterable[str]) -> None:
    """Lines in those that are about all locations."""
    for file in (EXTERNAL_POSTGRES, S3_LAKE):
        if (draft.root / file).exists() and not wish.internet:
            # A network without a way out would cut the location off from a database or a bucket that is elsewhere.
            draft.yaml(file).add(("networks",), wish.name, "!override {internal: false}", after=others)
    if (draft.root / EXTERNAL_POSTGRES).exists():
        line = f"  {wish.name}: {{<<: *authority}}\n"
        draft.yaml(EXTERNAL_POSTGRES).add(("services",), wish.name, after=others, lines=line)
    if (draft.root / S3_LAKE).exists():
        _in_bucket(draft.yaml(S3_LAKE), wish.name, others)
    if (draft.root / PRIVATE_INDEX).exists() and not wish.image:
        line = f"  {wish.name}: {{build: *private-index}}\n"
        draft.yaml(PRIVATE_INDEX).add(("services",), wish.name, after=others, lines=line)


def _in_bucket(overlay: YamlText, name: str, others: Iterable[str]) -> None:
    """A key of its own for the lakes' bucket, which the keeper of all lakes gets too."""
    overlay.add(("services",), name, after=others, lines=_s3_block(name))
    keeps = overlay.get("services", KEEPER, "secrets") is not None
    for secret in s3_secrets(name):
        place = f'{{file: "${{SECRETS_DIR:-./secrets}}/{secret}"}}'
        overlay.add(("secrets",), secret, place)
        if keeps:
            overlay.add(("services", KEEPER, "secrets"), secret)


def _s3_block(name: str) -> str:
    return S3_BLOCK.format(name=name, own=f"{{source: {name}_s3_key_secret, target: lake_s3_key_secret}}")


def s3_secrets(name: str) -> tuple[str, str]:
    """The two secrets of a location's key for the lakes' bucket."""
    return f"{name}_s3_key", f"{name}_s3_key_secret"


def remove(draft: Draft, name: str) -> Iterable[str]:
    """Rid overlays of the location; gives those that stand and fall with it: their services live on its network."""
    for path in sorted((draft.root / OVERLAYS).glob("*.yml")):
        file = str(path.relative_to(draft.root))
        overlay = draft.yaml(file)
        services = overlay.get("services") or {}
        others = [spec for service, spec in services.items() if service != name and isinstance(spec, dict)]
        if any(name in (spec.get("networks") or ()) for spec in others if "image" in spec):
            yield file
            continue
        overlay.remove(("services",), lambda entry: entry == name)
        overlay.remove(("services", KEEPER, "secrets"), lambda entry: source(entry) in s3_secrets(name))
        overlay.remove(("networks",), lambda entry: entry == name)
        overlay.remove(("secrets",), lambda entry: entry in s3_secrets(name))


def source(entry: Any) -> str:
    """What a secret or a mount of a service is of."""
    return str(entry["source"]) if isinstance(entry, dict) else str(entry).split(":")[0]
