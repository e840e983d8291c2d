"""A branch's networks have addresses of their own range, and none that somebody on this machine has."""

from ipaddress import IPv4Network
from pathlib import Path

import pytest

from operations.branches import networks, overlay
from operations.branches import settings as branch_settings
from operations.errors import StackError
from operations.host import Host
from operations.tests.fakes import Machine
from operations.tests.valid_deployment import service

RANGE = IPv4Network("198.18.0.0/23")
ROUTES = """\
Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
eth0	00000000	010200C0	0003	0	0	0	00000000	0	0	0
tun0	400012C6	00000000	0001	0	0	0	C0FFFFFF	0	0	0
"""


@pytest.fixture
def machine(machine: Machine) -> Machine:
    """With two networks, and a tunnel to 198.18.0.64/26."""
    machine.executor.answer("docker", "network", "ls", stdout="one two\n")
    machine.executor.answer("docker", "network", "inspect", stdout="172.17.0.0/16\n\n198.18.0.0/27\nfd00::/64\n")
    (machine.root / "slash/proc/net").mkdir(parents=True)
    (machine.root / "slash/proc/net/route").write_text(ROUTES)
    return machine


def test_what_docker_or_the_machine_uses_is_left_out(machine: Machine) -> None:
    found = networks.free(machine.context(), ["sales", "edge"], RANGE)
    assert found == {"edge": "198.18.0.32/27", "sales": "198.18.0.128/27"}


def test_a_range_that_is_used_up_is_told_with_its_setting(machine: Machine) -> None:
    names = [f"location-{number}" for number in range(14)]
    assert len(networks.free(machine.context(), names[:13], RANGE)) == 13
    with pytest.raises(StackError, match="room for 13 more networks, and the branch has 14") as error:
        networks.free(machine.context(), names, RANGE)
    assert "BRANCH_NETWORKS" in error.value.expected


def test_a_machine_without_networks_or_routes_has_all_of_it(tmp_path: Path) -> None:
    assert Host(tmp_path).routes() == []


@pytest.mark.parametrize("text", ["8.8.0.0/16", "198.18.0.0/24", "198.18.0.1/16", "fd00::/48", "$(id)", "10.0.0.0"])
def test_what_is_no_range_of_private_addresses_is_refused(text: str) -> None:
    with pytest.raises(StackError, match="BRANCH_NETWORKS is"):
        branch_settings.of({"BRANCH_NETWORKS": text}, [])
    assert branch_settings.of({"BRANCH_NETWORKS": "10.9.0.0/16"}, []).networks == IPv4Network("10.9.0.0/16")


def test_only_what_the_branch_makes_itself_gets_addresses() -> None:
    config = {
        "services": {
            "sales": service(networks={"sales": None, "office": None}),
            "backup": service(networks={"backup": None}),
            "gateway": service(networks={"edge": None}),
        },
        "networks": {"sales": {}, "backup": {}, "edge": {}, "unused": {}, "office": {"external": True}},
    }
    assert overlay.networks(config) == {"sales", "edge"}
