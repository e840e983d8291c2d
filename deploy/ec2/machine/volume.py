"""The data volume: found, formatted only when there is nothing at all on it, and mounted at each start.

It keeps Docker's data, the checkout, its settings and secrets: a new instance with the old volume is the old
deployment. No option formats a volume that has anything on it; who wants that does so by hand.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from deploy.ec2.machine.host import Host
from operations.errors import StackError

MOUNT = "/srv/stack"
LABEL = "stack-data"
TYPE = "ext4"
# An instance is often started before its volume is attached.
SECONDS = 300
LOOKED_AT = 4 * 1024 * 1024
NOTHING_FOUND = 2  # by blkid
EPHEMERAL = "Instance Storage"


@dataclass(frozen=True)
class Disk:
    """A whole disk as lsblk tells it."""

    path: str
    serial: str
    model: str
    type: str
    label: str
    mounted: bool
    parts: int

    @property
    def is_ours(self) -> bool:
        """Whether an earlier instance made it."""
        return self.type == TYPE and self.label == LABEL

    @property
    def is_bare(self) -> bool:
        """Whether lsblk sees nothing on it; more is asked before it is formatted."""
        return not (self.type or self.mounted or self.parts or EPHEMERAL in self.model)


def provide(host: Host, wanted: str, seconds: float = SECONDS) -> None:
    """Have the data volume mounted, now and at each start."""
    if not wanted:
        host.path(MOUNT).mkdir(parents=True, exist_ok=True)
        host.said(f"no data volume: {MOUNT} is on the root disk and ends with the instance")
        return
    if host.code(["findmnt", "--mountpoint", MOUNT]) == 0:
        return
    disk = host.wait(lambda: find(disks(host), wanted), seconds)
    if disk is None:
        raise StackError(
            f"no volume {wanted} after {seconds:.0f} s; there are: {_listed(disks(host))}",
            f"{wanted} attached to this instance" if wanted != "auto" else f"one that is empty or labelled {LABEL}",
            "attach it (aws ec2 attach-volume), then run deploy/ec2/setup again",
        )
    if not disk.is_ours:
        _require_nothing_on(host, disk)
        host.run(["mkfs.ext4", "-q", "-m", "1", "-L", LABEL, disk.path])
        host.said(f"formatted {disk.path}, which had nothing on it")
    _mount(host, disk)


def disks(host: Host) -> list[Disk]:
    """All whole disks."""
    columns = "PATH,TYPE,FSTYPE,LABEL,SERIAL,MODEL,MOUNTPOINTS"
    listed: dict[str, Any] = json.loads(host.run(["lsblk", "--json", "--output", columns]))
    return [
        Disk(
            path=each["path"],
            serial=(each["serial"] or "").strip(),
            model=(each["model"] or "").strip(),
            type=each["fstype"] or "",
            label=each["label"] or "",
            mounted=any(each["mountpoints"] or ()),
            parts=len(each.get("children") or ()),
        )
        for each in listed["blockdevices"]
        if each["type"] == "disk"
    ]


def find(present: list[Disk], wanted: str) -> Disk | None:
    """The disk that is meant; raises `StackError` where several may be."""
    if wanted != "auto":
        # EBS gives the volume's id as the serial number, without its hyphen.
        serial = wanted.replace("-", "")
        return next((disk for disk in present if disk.serial.replace("-", "") == serial), None)
    for choice in (
        [disk for disk in present if disk.is_ours and not disk.mounted],
        [disk for disk in present if disk.is_bare],
    ):
        if len(choice) > 1:
            raise StackError(
                f"more than one volume may be meant: {_listed(choice)}",
                "one",
                "name it: DATA_VOLUME=vol-... in /etc/stack/machine.conf",
            )
        if choice:
            return choice[0]
    return None


def _require_nothing_on(host: Host, disk: Disk) -> None:
    """Refuse, for whatever reason there is; a volume with data on it is somebody's only copy."""
    reasons = list(_on(host, disk))
    if reasons:
        raise StackError(
            f"{disk.path} ({disk.serial or disk.model}) is not empty: {'; '.join(reasons)}",
            f"an empty volume, or one with {TYPE} and the label {LABEL} that an earlier instance made",
            "attach the right one; or, if this one may be lost, wipe it yourself (wipefs --all) and repeat",
        )


def _on(host: Host, disk: Disk) -> Iterator[str]:
    if disk.type:
        yield f"lsblk sees {disk.type}{f' with the label {disk.label}' if disk.label else ''}"
    if disk.parts:
        yield f"it has {disk.parts} partitions"
    if disk.mounted:
        yield "it is mounted"
    # Reads the device itself, where lsblk asks udev, which may not have looked yet.
    if (code := host.code(["blkid", "--probe", disk.path])) != NOTHING_FOUND:
        yield f"blkid finds a signature (exit code {code})"
    with host.path(disk.path).open("rb") as device:
        if any(device.read(LOOKED_AT)):
            yield "its first bytes are not zero, though no known signature is there"


def _mount(host: Host, disk: Disk) -> None:
    uuid = host.run(["blkid", "--probe", "--match-tag", "UUID", "--output", "value", disk.path]).strip()
    if not uuid:
        raise StackError(f"{disk.path} has no UUID", "the one that mkfs.ext4 gave it", "look at it: blkid")
    host.path(MOUNT).mkdir(parents=True, exist_ok=True)
    if any(host.path(MOUNT).iterdir()):
        raise StackError(
            f"{MOUNT} has files on the root disk, which the volume would hide",
            "an empty directory",
            "move them away; this machine has run without its data volume",
        )
    # nofail: without its volume the machine still starts, and can be asked why; Docker and the deployment do not.
    line = f"UUID={uuid} {MOUNT} {TYPE} defaults,nofail,x-systemd.device-timeout=60 0 2"
    table = host.path("/etc/fstab").read_text(encoding="utf-8") if host.path("/etc/fstab").is_file() else ""
    kept = [each for each in table.splitlines() if each.split()[1:2] != [MOUNT]]
    host.write("/etc/fstab", "\n".join([*kept, line]) + "\n")
    host.run(["systemctl", "daemon-reload"])
    host.run(["mount", MOUNT])
    host.said(f"mounted {disk.path} at {MOUNT}")


def _listed(present: list[Disk]) -> str:
    return ", ".join(
        f"{disk.path} ({' '.join(filter(None, (disk.serial, disk.type or 'nothing known on it', disk.label)))})"
        for disk in present
    )
