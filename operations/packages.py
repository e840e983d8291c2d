"""What to install for Docker, and from where, on Debian and Ubuntu. Plans only; `preflight` carries them out."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

# Bookworm's own Compose is V1; trixie's packages run on it.
NEWER = {"bookworm": "trixie"}
# Only recommended by docker.io, but without the first no container starts on a kernel with AppArmor.
ENGINE_NEEDS = ("apparmor", "ca-certificates")
PACKAGES: dict[str, dict[str, tuple[str, ...]]] = {
    "debian": {
        "engine": ("docker.io", "docker-cli", *ENGINE_NEEDS),
        "compose": ("docker-compose",),
        "buildx": ("docker-buildx",),
    },
    "ubuntu": {"engine": ("docker.io", *ENGINE_NEEDS), "compose": ("docker-compose-v2",), "buildx": ("docker-buildx",)},
    # Docker's own packages, where they are in use: the distribution's would conflict with them.
    "docker-ce": {"engine": ("docker-ce",), "compose": ("docker-compose-plugin",), "buildx": ("docker-buildx-plugin",)},
}
# Whoever else installs (a cloud machine's first minutes, a second deployment) holds a lock; apt would give up at once.
PATIENCE = ("--option", "DPkg::Lock::Timeout=300")
PREFERENCES = "Package: *\nPin: release n={suite}\nPin-Priority: 100\n"


@dataclass(frozen=True)
class Distribution:
    """Which Debian or Ubuntu this is; an empty id stands for anything else."""

    id: str
    codename: str


@dataclass(frozen=True)
class Source:
    """Where apt gets packages from."""

    uri: str
    suites: tuple[str, ...]
    components: tuple[str, ...]
    signed_by: str = ""

    def stanza(self, suite: str) -> str:
        """The same place for another suite, in deb822 form."""
        signed = f"Signed-By: {self.signed_by}\n" if self.signed_by else ""
        return f"Types: deb\nURIs: {self.uri}\nSuites: {suite}\nComponents: main\n{signed}"

    def line(self, suite: str) -> str:
        """The same place for another suite, as one line."""
        signed = f"[signed-by={self.signed_by}] " if self.signed_by.startswith("/") else ""
        return f"deb {signed}{self.uri} {suite} main"


@dataclass(frozen=True)
class Write:
    """A file to make; one that exists stays."""

    path: Path
    content: str


Step = Write | tuple[str, ...]


def spell_out(steps: Iterable[Step]) -> str:
    """Steps for somebody who has to carry them out as root."""
    return "\n".join(
        f"write {step.path}:\n{step.content}" if isinstance(step, Write) else " ".join(step) for step in steps
    )


def distribution(os_release: str) -> Distribution:
    """From the text of /etc/os-release."""
    values: dict[str, str] = dict(re.findall(r'^([A-Z_]+)="?([^"\n]*)"?$', os_release, re.MULTILINE))
    own = values.get("ID", "")
    for candidate in (own, *values.get("ID_LIKE", "").split()):
        if candidate == "ubuntu":
            return Distribution("ubuntu", values.get("UBUNTU_CODENAME", values.get("VERSION_CODENAME", "")))
        if candidate == "debian":
            return Distribution("debian", values.get("VERSION_CODENAME", "") if own == "debian" else "")
    return Distribution("", "")


def sources(texts: dict[str, str]) -> list[Source]:
    """All enabled places of apt, from the contents of its files by name."""
    found: list[Source] = []
    for name, text in sorted(texts.items()):
        if name.endswith(".sources"):
            for stanza in re.split(r"\n[ \t]*\n", text):
                found.extend(_stanza(stanza))
        elif name.endswith(".list"):
            found.extend(source for line in text.splitlines() for source in _one_line(line))
    return found


def install(
    missing: Iterable[str], host: Distribution, places: list[Source], docker_ce: bool = False
) -> list[Step] | None:
    """How to install the missing ones of engine, compose and buildx; None where only the host's owner knows."""
    packages = PACKAGES["docker-ce"] if docker_ce else PACKAGES.get(host.id)
    if packages is None:
        return None
    suite = "" if docker_ce else NEWER.get(host.codename, "")
    steps: list[Step] = [("apt-get", "update")]
    names: list[str] = []
    for piece in missing:
        if not suite:
            names += packages[piece]
        elif piece == "engine":
            # Here docker.io brings the client itself.
            names += [name for name in packages[piece] if name != "docker-cli"]
        else:
            steps += [step for step in newer_suite(suite, host.codename, places) if step not in steps]
            names += [f"{name}/{suite}" for name in packages[piece]]
    return [*steps, apt_install(*names)]


def apt_install(*packages: str) -> tuple[str, ...]:
    """Install packages without questions, without what they merely recommend, and never at the price of another.

    Compose recommends a newer client, which conflicts with bookworm's docker.io: apt would remove the engine for it.
    """
    return ("apt-get", "install", "--yes", "--no-install-recommends", "--no-remove", *PATIENCE, *packages)


def newer_suite(suite: str, codename: str, places: list[Source]) -> list[Step]:
    """Offer a newer suite at low priority: nothing comes from it that is not asked for by name."""
    if any(suite in place.suites for place in places):
        return []
    base = next((place for place in places if codename in place.suites and "main" in place.components), None)
    if base is None:
        return []
    apt = Path("/etc/apt")
    return [
        # A keyring from before the newer release does not know its keys; the update does.
        apt_install("debian-archive-keyring"),
        Write(apt / "preferences.d" / f"{suite}-for-docker", PREFERENCES.format(suite=suite)),
        Write(apt / "sources.list.d" / f"{suite}-for-docker.sources", base.stanza(suite)),
        ("apt-get", "--quiet", "update"),
    ]


def _stanza(text: str) -> list[Source]:
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    fields: dict[str, str] = {}
    key = ""
    for line in lines:
        if line[:1] in (" ", "\t"):
            fields[key] = f"{fields.get(key, '')} {line.strip()}"
        elif ":" in line:
            key, _, value = line.partition(":")
            key = key.lower()
            fields[key] = value.strip()
    if fields.get("enabled", "yes").lower() in ("no", "false", "0") or "deb" not in fields.get("types", "").split():
        return []
    suites, components = tuple(fields.get("suites", "").split()), tuple(fields.get("components", "").split())
    signed_by = fields.get("signed-by", "")
    return [Source(uri, suites, components, signed_by) for uri in fields.get("uris", "").split()]


def _one_line(line: str) -> list[Source]:
    match = re.match(r"deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s*([^#]*)", line)
    if not match:
        return []
    options = dict(option.partition("=")[::2] for option in (match[1] or "").split())
    return [Source(match[2], (match[3],), tuple(match[4].split()), options.get("signed-by", ""))]
