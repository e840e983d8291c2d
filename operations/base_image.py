"""The image that all others are built from: pulled, or, where no registry answers, made from packages."""

import re
from pathlib import Path

from operations import packages
from operations.context import Context
from operations.errors import StackError
from operations.execute import Line
from operations.preflight import carry_out

DEFAULT = "debian:trixie-slim"
TRUST = Path("etc/ssl/certs/ca-certificates.crt")


def provide(context: Context) -> None:
    """Make sure that the engine has the base image. Does nothing when it has."""
    image = context.deployment.settings().get("BASE_IMAGE") or DEFAULT
    if context.executor.run(["docker", "image", "inspect", "--format", "ok", image], check=False).ok:
        return
    with context.report.step(f"Get the base image {image}") as step:
        pulled = context.executor.stream(["docker", "pull", image], step.update, check=False)
        if pulled.ok:
            step.done("pulled")
            return
        suite = debian_suite(image)
        if suite is None:
            raise StackError(
                f"{image} cannot be pulled: {pulled.last_words}",
                "a registry that has it; only debian:<release> can be made here",
                "sign in to the registry (docker login), load the image (docker load), or correct BASE_IMAGE in .env",
            )
        step.update("no registry answers; building it from packages")
        make(context, image, suite, step.update)
        step.done("built from packages, no registry answered")


def debian_suite(image: str) -> str | None:
    """The Debian release that an image is, by its name; None when it is something else."""
    match = re.fullmatch(r"(?:.*/)?debian:([a-z]+)(?:-slim)?", image)
    return match[1] if match else None


def make(context: Context, image: str, suite: str, on_line: Line) -> None:
    """Build a minimal Debian with mmdebstrap and import it under the image's name."""
    if not context.executor.run(["mmdebstrap", "--version"], check=False).ok:
        steps: list[packages.Step] = [
            ("apt-get", "--quiet", "update"),
            packages.apt_install("mmdebstrap", "debian-archive-keyring"),
        ]
        if not context.host.is_root or not context.host.distribution().id:
            raise StackError(
                f"{image} cannot be pulled, and mmdebstrap, which could make it, is not installed",
                "a registry that answers, or mmdebstrap",
                f"install it (Debian, Ubuntu: {packages.spell_out(steps[1:])}), or load the image (docker load)",
            )
        carry_out(context, steps, on_line)
    archive = context.deployment.state / "base-image.tar"
    archive.parent.mkdir(parents=True, exist_ok=True)
    host = context.host.distribution()
    lines = mirror_lines(context.host.apt_sources(), host, suite)
    trust = context.host.slash / TRUST
    try:
        context.executor.stream(bootstrap(suite, archive, lines, trust if trust.is_file() else None), on_line)
        context.executor.run(["docker", "import", "--change", 'CMD ["bash"]', str(archive), image])
    finally:
        archive.unlink(missing_ok=True)


def mirror_lines(places: list[packages.Source], host: packages.Distribution, suite: str) -> list[str]:
    """This machine's own mirrors, for another release. None on another distribution: mmdebstrap knows a default."""
    lines = []
    if host.id == "debian":
        for place in places:
            if "main" not in place.components:
                continue
            for own in place.suites:
                name, _, part = own.partition("-")
                if name == host.codename and part in ("", "updates", "security"):
                    lines.append(place.line(f"{suite}-{part}" if part else suite))
    return list(dict.fromkeys(lines))


def bootstrap(suite: str, archive: Path, lines: list[str], trust: Path | None) -> list[str]:
    """The mmdebstrap command. The host's trust store goes along: builds meet the same TLS inspection as the host."""
    hooks = [f"--customize-hook=upload {trust} /{TRUST}"] if trust else []
    return [
        "mmdebstrap",
        "--variant=minbase",
        "--include=ca-certificates",
        "--dpkgopt=path-exclude=/usr/share/man/*",
        "--dpkgopt=path-exclude=/usr/share/doc/*",
        "--dpkgopt=path-include=/usr/share/doc/*/copyright",
        "--dpkgopt=path-exclude=/usr/share/locale/*",
        *hooks,
        suite,
        str(archive),
        *lines,
    ]
