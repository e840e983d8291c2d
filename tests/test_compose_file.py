"""Promise: docker-compose.yml reads the same from service to service. (./stack check holds what it says.)"""

import re

from tests.support.deployment import ROOT
from tests.support.locations import shipped

TEXT = (ROOT / "docker-compose.yml").read_text()
ORDER = [
    "<<",
    "restart",
    "user",
    "image",
    "build",
    "command",
    "environment",
    "secrets",
    "volumes",
    "tmpfs",
    "networks",
    "network_mode",
    "ports",
    "depends_on",
    "healthcheck",
    "labels",
    "shm_size",
    "mem_limit",
    "cpus",
    "pids_limit",
]


def services() -> dict[str, list[str]]:
    """The keys of each service, in the order of the file."""
    block = TEXT.partition("\nservices:\n")[2].partition("\nnetworks:\n")[0]
    found: dict[str, list[str]] = {}
    for line in block.splitlines():
        if match := re.fullmatch(r"  (\w+):", line):
            found[match[1]] = []
        elif match := re.match(r"    ([\w<]+):", line):
            found[list(found)[-1]].append(match[1])
    return found


def test_services_come_in_the_order_in_which_they_need_each_other() -> None:
    names = list(services())
    assert names[:3] == ["postgres", "migrate", "run_broker"]
    assert names[-3:] == ["webserver", "daemon", "gateway"]


def test_every_service_has_its_keys_in_one_order() -> None:
    for name, keys in services().items():
        assert keys, name
        assert keys == sorted(keys, key=ORDER.index), name


def test_shared_blocks_are_few_and_used_twice() -> None:
    anchors = re.findall(r"^x-[\w-]+: &([\w-]+)$", TEXT, re.MULTILINE)
    assert 0 < len(anchors) <= 4
    for anchor in anchors:
        # Of code locations one is enough.
        assert len(re.findall(rf"\*{anchor}\b", TEXT)) >= (1 if anchor == "code-location" else 2), anchor


def test_nothing_is_commented_out() -> None:
    comments = [line.strip() for line in TEXT.splitlines() if line.strip().startswith("#")]
    assert [line for line in comments if re.match(r"#\s*[\w-]+:(\s|$)", line)] == []


def test_a_location_is_about_fifteen_lines() -> None:
    for name in shipped():
        assert len(services()[name]) <= 15
