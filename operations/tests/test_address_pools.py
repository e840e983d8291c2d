"""The engine's addresses for networks: said before a location or a deployment finds none left."""

import json

import pytest

from operations import address_pools
from operations.tests.fakes import Machine


def engine(machine: Machine, pools: object, *subnets: str) -> None:
    machine.executor.answer("{{json .DefaultAddressPools}}", stdout=json.dumps(pools))
    machine.executor.answer("network", "ls", "--quiet", "--filter", "driver=bridge", stdout="a\nb\n")
    machine.executor.answer("network", "inspect", stdout="\n".join(subnets))


def docker_has(number: int) -> list[str]:
    """The subnets that Docker gives first."""
    return [f"172.{17 + n}.0.0/16" if n < 15 else f"192.168.{16 * (n - 15)}.0/20" for n in range(number)]


@pytest.mark.parametrize(("used", "free"), [(28, None), (29, 2), (31, 0)])
def test_dockers_own_pools_hold_31_networks(machine: Machine, used: int, free: int | None) -> None:
    engine(machine, None, *docker_has(used), "10.77.0.0/27", "fd00::/64")
    found = address_pools.finding(machine.context())
    assert (found is None) == (free is None)
    if found is not None:
        assert found.what == f"Docker has addresses for {free} more networks, of 31"
        assert "default-address-pools" in found.do


def test_a_deployment_that_is_not_started_wants_all_of_its_networks(machine: Machine) -> None:
    engine(machine, None, *docker_has(25))
    assert address_pools.finding(machine.context()) is None
    found = address_pools.finding(machine.context(), wanted=8)
    assert found is not None
    assert "8 are wanted" in found.why


def test_pools_of_the_machines_own_count_instead(machine: Machine) -> None:
    engine(machine, [{"Base": "10.200.0.0/22", "Size": 24}], *docker_has(31))
    assert address_pools.finding(machine.context(), wanted=4) is None
    assert address_pools.finding(machine.context(), wanted=5) is not None


def test_a_large_pool_is_not_counted_to_its_end(machine: Machine) -> None:
    engine(machine, [{"Base": "10.0.0.0/8", "Size": 28}])
    assert address_pools.finding(machine.context(), wanted=50) is None


def test_a_route_of_the_machine_takes_addresses_as_well(machine: Machine) -> None:
    routes = machine.root / "slash/proc/net/route"
    routes.parent.mkdir(parents=True)
    # 192.168.0.0/16, as the kernel writes it.
    routes.write_text("Iface\tDestination\tGateway\nwg0\t0000A8C0\t0\t1\t0\t0\t0\t0000FFFF\t0\t0\t0\n")
    engine(machine, None, *docker_has(13))
    found = address_pools.finding(machine.context())
    assert found is not None
    assert "for 2 more networks, of 31" in found.what


@pytest.mark.parametrize("told", ["", "<no value>", "{}"])
def test_an_engine_that_does_not_say_is_not_judged(machine: Machine, told: str) -> None:
    machine.executor.answer("{{json .DefaultAddressPools}}", stdout=told)
    assert address_pools.finding(machine.context()) is None
