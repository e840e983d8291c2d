"""The data volume: what is on a disk is never lost, and the right disk is taken, or none."""

import json
from pathlib import Path
from typing import Any

import pytest

from deploy.ec2.machine import volume
from deploy.ec2.tests.fakes import FakeHost
from operations.errors import StackError

MIB = 1024 * 1024
ROOT = {"path": "/dev/nvme0n1", "serial": "vol0root", "children": [{"path": "/dev/nvme0n1p1"}]}


def disk(**own: Any) -> dict[str, Any]:
    plain = {
        **{"path": "/dev/nvme1n1", "type": "disk", "fstype": None, "label": None, "serial": "vol0abc"},
        **{"model": "Amazon Elastic Block Store", "mountpoints": [None]},
    }
    return {**plain, **own}


@pytest.fixture
def machine(host: FakeHost) -> FakeHost:
    host.path("/dev").mkdir()
    host.path("/etc").mkdir()
    host.path("/etc/fstab").write_text("UUID=root / ext4 defaults 0 1\n")
    host.answers["findmnt"] = (1, "")
    host.answers["lsblk"] = lsblk(disk(**ROOT), disk())
    host.answers["blkid --probe /dev"] = (2, "")
    host.answers["--output value"] = (0, "0b1c-uuid\n")
    device(host, "/dev/nvme1n1")
    return host


def lsblk(*present: dict[str, Any]) -> tuple[int, str]:
    return 0, json.dumps({"blockdevices": present})


def device(host: FakeHost, name: str, content: bytes = b"", size: int = 64 * MIB) -> Path:
    path = host.path(name)
    with path.open("wb") as file:
        file.truncate(size)
        file.write(content)
    return path


@pytest.mark.parametrize("wanted", ["vol-0abc", "auto"])
def test_an_empty_volume_is_formatted_and_mounted_at_each_start(machine: FakeHost, wanted: str) -> None:
    volume.provide(machine, wanted)
    (made,) = machine.ran("mkfs.ext4")
    assert made[-3:] == ["-L", "stack-data", "/dev/nvme1n1"]
    assert "-F" not in made
    assert machine.path("/etc/fstab").read_text().splitlines() == [
        "UUID=root / ext4 defaults 0 1",
        "UUID=0b1c-uuid /srv/stack ext4 defaults,nofail,x-systemd.device-timeout=60 0 2",
    ]
    assert machine.calls[-1] == ["mount", "/srv/stack"]


def test_the_volume_of_an_earlier_instance_is_taken_as_it_is(machine: FakeHost) -> None:
    ours = disk(fstype="ext4", label="stack-data")
    # An empty one beside it is left alone.
    machine.answers["lsblk"] = lsblk(disk(**ROOT), disk(path="/dev/nvme2n1", serial="vol0new"), ours)
    volume.provide(machine, "auto")
    assert machine.ran("mkfs.ext4") == []
    assert machine.calls[-1] == ["mount", "/srv/stack"]


def test_a_mounted_volume_is_left_alone(machine: FakeHost) -> None:
    machine.answers["findmnt"] = (0, "")
    before = machine.tree()
    volume.provide(machine, "vol-0abc")
    assert [call[0] for call in machine.calls] == ["findmnt"]
    assert machine.tree() == before


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"fstype": "xfs"}, "lsblk sees xfs"),
        ({"fstype": "ext4", "label": "customers"}, "lsblk sees ext4 with the label customers"),
        ({"fstype": "ext4"}, "lsblk sees ext4"),
        ({"fstype": "LVM2_member"}, "lsblk sees LVM2_member"),
        ({"fstype": "crypto_LUKS", "label": "stack-data"}, "lsblk sees crypto_LUKS"),
        ({"fstype": "xfs", "label": "stack-data"}, "lsblk sees xfs"),
        ({"children": [{"path": "/dev/nvme1n1p1"}]}, "it has 1 partitions"),
        ({"mountpoints": ["/mnt"]}, "it is mounted"),
    ],
)
def test_a_volume_with_anything_on_it_is_never_formatted(machine: FakeHost, found: dict[str, Any], said: str) -> None:
    machine.answers["lsblk"] = lsblk(disk(**ROOT), disk(**found))
    with pytest.raises(StackError) as error:
        volume.provide(machine, "vol-0abc")
    assert said in error.value.found
    assert "wipe it yourself" in error.value.do
    assert machine.ran("mkfs.ext4") == machine.ran("mount") == []
    # Nor is it what "the empty one" means.
    with pytest.raises(StackError, match="no volume auto"):
        volume.provide(machine, "auto")
    assert machine.ran("mkfs.ext4") == []


SIGNATURES = {
    "swap": (4086, b"SWAPSPACE2"),
    "LUKS": (0, b"LUKS\xba\xbe\x00\x02"),
    "LVM": (512, b"LABELONE\x01\x00\x00\x00\x00\x00\x00\x00\x46\x0e\x5a\x92\x20\x00\x00\x00LVM2 001"),
    "xfs": (0, b"XFSB"),
    "nothing that is known": (4 * MIB - 1, b"x"),
}


@pytest.mark.parametrize("kind", SIGNATURES)
def test_what_lsblk_overlooks_is_found_on_the_device_itself(machine: FakeHost, kind: str) -> None:
    at, content = SIGNATURES[kind]
    device(machine, "/dev/nvme1n1", b"\0" * at + content)
    machine.real = ("blkid", "mkfs.ext4")
    with pytest.raises(StackError, match="is not empty"):
        volume.provide(machine, "auto")
    assert machine.ran("mkfs.ext4") == []


def test_a_real_file_system_is_made_once_and_known_again(machine: FakeHost) -> None:
    machine.real = ("blkid", "mkfs.ext4")
    volume.provide(machine, "vol-0abc")
    first = machine.path("/dev/nvme1n1").read_bytes()
    assert b"stack-data" in first[:4096]
    table = machine.path("/etc/fstab").read_text()
    # Where lsblk, which asks udev, does not know of it yet, the second call refuses rather than formats.
    machine.path("/srv/stack").rmdir()
    with pytest.raises(StackError, match="blkid finds a signature"):
        volume.provide(machine, "vol-0abc")
    machine.answers["lsblk"] = lsblk(disk(**ROOT), disk(fstype="ext4", label="stack-data"))
    volume.provide(machine, "vol-0abc")
    assert machine.path("/dev/nvme1n1").read_bytes() == first
    assert machine.path("/etc/fstab").read_text() == table
    assert table.count("/srv/stack") == 1


def test_several_that_may_be_meant_are_asked_about(machine: FakeHost) -> None:
    machine.answers["lsblk"] = lsblk(disk(), disk(path="/dev/nvme2n1", serial="vol0new"))
    with pytest.raises(StackError, match="more than one volume may be meant: /dev/nvme1n1") as error:
        volume.provide(machine, "auto")
    assert "DATA_VOLUME=vol-" in error.value.do
    ours = disk(fstype="ext4", label="stack-data")
    machine.answers["lsblk"] = lsblk(ours, {**ours, "path": "/dev/nvme2n1"})
    with pytest.raises(StackError, match="more than one"):
        volume.provide(machine, "auto")


def test_an_instances_own_disk_is_no_place_for_data(machine: FakeHost) -> None:
    machine.answers["lsblk"] = lsblk(disk(model="Amazon EC2 NVMe Instance Storage", serial="AWS1"))
    with pytest.raises(StackError, match="no volume auto"):
        volume.provide(machine, "auto")


def test_a_volume_that_is_not_there_is_named_with_those_that_are(machine: FakeHost) -> None:
    with pytest.raises(StackError, match=r"no volume vol-0def.*vol0abc nothing known on it") as error:
        volume.provide(machine, "vol-0def", seconds=0)
    assert "attach" in error.value.do
    assert machine.ran("mkfs.ext4") == []


def test_files_that_the_mount_would_hide_stop_it(machine: FakeHost) -> None:
    machine.path("/srv/stack/deployment").mkdir(parents=True)
    with pytest.raises(StackError, match="which the volume would hide"):
        volume.provide(machine, "vol-0abc")
    assert machine.ran("mount") == []


def test_without_a_volume_it_is_said_what_that_means(machine: FakeHost) -> None:
    volume.provide(machine, "")
    assert machine.calls == []
    assert "ends with the instance" in machine.lines[0]
