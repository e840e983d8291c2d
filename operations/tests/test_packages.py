from pathlib import Path

import pytest

from operations import packages
from operations.packages import Distribution, Source, Write

DEB822 = """\
Types: deb deb-src
# a comment
URIs: http://mirror.example/debian
Suites: bookworm
 bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
Enabled: no
"""
ONE_LINE = """\
# deb http://off.example/debian bookworm main
deb [arch=amd64 signed-by=/k.gpg] http://one.example/debian bookworm main contrib # why
deb-src http://one.example/debian bookworm main
"""
BOOKWORM = Distribution("debian", "bookworm")
MIRROR = Source("http://mirror.example/debian", ("bookworm", "bookworm-updates"), ("main",), "/k.gpg")


def test_both_formats_of_apt_sources_are_read_and_disabled_ones_left_out() -> None:
    found = packages.sources({"a/debian.sources": DEB822, "b/x.list": ONE_LINE, "c/x.list.disabled": ONE_LINE})
    key = "/usr/share/keyrings/debian-archive-keyring.gpg"
    assert found == [
        Source("http://mirror.example/debian", ("bookworm", "bookworm-updates"), ("main",), key),
        Source("http://one.example/debian", ("bookworm",), ("main", "contrib"), "/k.gpg"),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('ID=debian\nVERSION_CODENAME=trixie\n', Distribution("debian", "trixie")),
        ('ID=ubuntu\nID_LIKE=debian\nVERSION_CODENAME=noble\n', Distribution("ubuntu", "noble")),
        ('ID=linuxmint\nID_LIKE="ubuntu debian"\nVERSION_CODENAME=wilma\nUBUNTU_CODENAME=noble\n',
         Distribution("ubuntu", "noble")),
        ('ID=raspbian\nID_LIKE=debian\nVERSION_CODENAME=bookworm\n', Distribution("debian", "")),
        ('ID="rhel"\nID_LIKE="fedora"\n', Distribution("", "")),
        ("", Distribution("", "")),
    ],
)  # fmt: skip
def test_the_distribution_is_known_by_its_own_words(text: str, expected: Distribution) -> None:
    assert packages.distribution(text) == expected


def test_bookworm_takes_compose_and_buildx_from_trixie_at_low_priority() -> None:
    steps = packages.install(["compose", "buildx"], BOOKWORM, [MIRROR])
    assert steps == [
        ("apt-get", "update"),
        packages.apt_install("debian-archive-keyring"),
        Write(
            Path("/etc/apt/preferences.d/trixie-for-docker"),
            "Package: *\nPin: release n=trixie\nPin-Priority: 100\n",
        ),
        Write(
            Path("/etc/apt/sources.list.d/trixie-for-docker.sources"),
            "Types: deb\nURIs: http://mirror.example/debian\nSuites: trixie\nComponents: main\nSigned-By: /k.gpg\n",
        ),
        ("apt-get", "--quiet", "update"),
        (
            *("apt-get", "install", "--yes", "--no-install-recommends", "--no-remove"),
            *("--option", "DPkg::Lock::Timeout=300"),
            *("docker-compose/trixie", "docker-buildx/trixie"),
        ),
    ]


def test_the_engine_of_bookworm_is_its_own() -> None:
    steps = packages.install(["engine"], BOOKWORM, [MIRROR])
    assert steps == [
        ("apt-get", "update"),
        packages.apt_install("docker.io", "apparmor", "ca-certificates"),
    ]


def test_trixie_that_is_offered_already_is_not_offered_twice() -> None:
    offered = Source("http://mirror.example/debian", ("trixie",), ("main",))
    steps = packages.install(["compose"], BOOKWORM, [MIRROR, offered])
    assert steps == [("apt-get", "update"), packages.apt_install("docker-compose/trixie")]


@pytest.mark.parametrize(
    ("host", "names"),
    [
        (Distribution("debian", "trixie"),
         ["docker.io", "docker-cli", "apparmor", "ca-certificates", "docker-compose", "docker-buildx"]),
        (Distribution("ubuntu", "noble"),
         ["docker.io", "apparmor", "ca-certificates", "docker-compose-v2", "docker-buildx"]),
    ],
)  # fmt: skip
def test_newer_distributions_have_everything_themselves(host: Distribution, names: list[str]) -> None:
    steps = packages.install(["engine", "compose", "buildx"], host, [])
    assert steps == [("apt-get", "update"), packages.apt_install(*names)]


def test_dockers_own_packages_are_completed_by_dockers_own() -> None:
    steps = packages.install(["compose", "buildx"], BOOKWORM, [MIRROR], docker_ce=True)
    assert steps == [
        ("apt-get", "update"),
        packages.apt_install("docker-compose-plugin", "docker-buildx-plugin"),
    ]


def test_no_plan_is_made_for_an_unknown_distribution() -> None:
    assert packages.install(["compose"], Distribution("", ""), []) is None


def test_no_host_name_is_written_in_the_code() -> None:
    sources = Path(packages.__file__).parent.rglob("*.py")
    own = [path for path in sources if "tests" not in path.parts]
    assert own
    # In two parts each: this file is held to the same rule.
    for name, domain in (("debian", "org"), ("ubuntu", "com"), ("pypi", "org"), ("docker", "com/"), ("docker", "io/")):
        word = f"{name}.{domain}"
        assert [path.name for path in own if word in path.read_text()] == []
