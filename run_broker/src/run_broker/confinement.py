"""What no run ever gets, whatever its code server says: pure checks and filters."""

import posixpath
import re
from collections.abc import Iterable
from typing import Any

from run_broker.engine_views import Container
from run_broker.refusal import Refusal

# Paths that give power over the engine or the host: mounting them, anything below them, or anything above them.
ENGINE_PATHS = (
    "/run/docker.sock", "/var/run/docker.sock", "/run/docker", "/var/run/docker", "/var/lib/docker",
    "/run/containerd", "/var/run/containerd", "/var/lib/containerd", "/run/podman", "/proc", "/sys", "/dev",
)  # fmt: skip
_USER = re.compile(r"[1-9][0-9]{0,9}(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,31})?", re.ASCII)
_MOUNT_TYPES = ("bind", "volume", "tmpfs")
_MOUNT_OPTIONS = {
    "BindOptions": ("Propagation", "NonRecursive"),
    # Not DriverConfig: a volume's driver options could name any host path, and the volume exists already.
    "VolumeOptions": ("NoCopy", "Subpath"),
    "TmpfsOptions": ("SizeBytes", "Mode"),
}


def require_user(user: str) -> str:
    """The code server's user, if it is a number that is not root's.

    A name is not enough: the image decides which number a name has.
    """
    if _USER.fullmatch(user) is None or int(user.split(":")[0]) >= 2**31:
        raise Refusal(
            409,
            "root-code-server",
            f"the code server runs as user {user[:40]!r}; runs need a number other than 0, such as 10001",
        )
    return user


def copy_binds(binds: Iterable[Any], forbidden: frozenset[str]) -> list[str]:
    """The `source:target[:options]` mounts, none of which leads to the engine."""
    copied = [str(bind) for bind in binds]
    for bind in copied:
        _require_harmless(bind.split(":")[0], forbidden)
    return copied


def copy_mounts(mounts: Iterable[Any], forbidden: frozenset[str]) -> list[dict[str, Any]]:
    """The structured mounts with the keys that runs may have, none of which leads to the engine."""
    copied = []
    for mount in mounts:
        kind, source = mount.get("Type"), str(mount.get("Source") or "")
        if kind not in _MOUNT_TYPES:
            raise Refusal(409, "forbidden-mount", f"the code server has a mount of type {kind!r}; runs cannot")
        if kind != "tmpfs":
            _require_harmless(source, forbidden)
        copy: dict[str, Any] = {"Type": kind, "Target": str(mount.get("Target", ""))}
        copy["ReadOnly"] = bool(mount.get("ReadOnly"))
        if source:
            copy["Source"] = source
        for group, keys in _MOUNT_OPTIONS.items():
            options = {key: mount[group][key] for key in keys if (mount.get(group) or {}).get(key)}
            if options:
                copy[group] = options
        copied.append(copy)
    return copied


def require_harmless_mounts(server: Container, forbidden: frozenset[str]) -> None:
    """Check the host paths as the engine resolved them, too."""
    for mount in server.mounts:
        if mount.type == "bind":
            _require_harmless(mount.source, forbidden)
        elif mount.name:
            _require_harmless(mount.name, forbidden)


def _require_harmless(source: str, forbidden: frozenset[str]) -> None:
    """Refuse a host path or volume that leads to the engine, its data, or a socket of the broker."""
    if source in forbidden:
        _refuse_mount(source)
    if not source.startswith("/"):
        return
    path = posixpath.normpath("/" + source.lstrip("/"))
    for guarded in (*ENGINE_PATHS, *(item for item in forbidden if item.startswith("/"))):
        inside = path == guarded or path.startswith(guarded + "/")
        above = path == "/" or guarded.startswith(path + "/")
        if inside or above:
            _refuse_mount(source)


def _refuse_mount(source: str) -> None:
    raise Refusal(
        409,
        "forbidden-mount",
        f"the code server mounts {source[:200]!r}, which leads to the engine or the broker; its runs would, too",
    )


def security_options(options: Iterable[Any]) -> list[str]:
    """The code server's security options without those that take confinement away, and no-new-privileges always."""
    kept = [
        text
        for option in options
        if not (text := str(option)).replace("=", ":").startswith("no-new-privileges")
        and not re.search(r"[:=](unconfined|disable)$", text)
    ]
    return [*kept, "no-new-privileges:true"]


def networks_of(server: Container) -> tuple[str, ...]:
    """The networks of the code server, the first of which is the container's own mode; none for mode none."""
    mode = str(server.host_config.get("NetworkMode") or "")
    if mode == "host" or mode.startswith("container:"):
        raise Refusal(409, "forbidden-network", f"the code server uses the network of {mode[:80]!r}; runs cannot")
    names = [name for name in server.network_settings.networks if name != "none"]
    if mode == "none" or not names:
        return ()
    return tuple(sorted(names, key=lambda name: (name != mode, name)))
