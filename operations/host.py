"""What the machine itself tells: distribution, memory, disk, ports."""

import errno
import os
import shutil
import socket
import sys
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

from operations import packages


@dataclass(frozen=True)
class Host:
    """The machine; a test gives one with another root directory."""

    slash: Path = Path("/")

    @property
    def is_root(self) -> bool:
        """Whether packages may be installed."""
        return os.geteuid() == 0

    def distribution(self) -> packages.Distribution:
        """Which Debian or Ubuntu this is."""
        return packages.distribution(_text(self.slash / "etc/os-release"))

    def apt_sources(self) -> list[packages.Source]:
        """Where this machine gets its packages from."""
        apt = self.slash / "etc/apt"
        files = [apt / "sources.list", *(apt / "sources.list.d").glob("*.*")]
        return packages.sources({str(path): _text(path) for path in files if path.is_file()})

    def has_package(self, name: str) -> bool:
        """Whether dpkg knows this package as installed."""
        return (self.slash / "var/lib/dpkg/info" / f"{name}.list").exists()

    def has_engine(self) -> bool:
        """Whether an engine is installed here; one that DOCKER_HOST names is somewhere else."""
        places = ("usr/bin", "usr/sbin", "usr/local/bin", "usr/local/sbin")
        return "DOCKER_HOST" in os.environ or any((self.slash / place / "dockerd").exists() for place in places)

    def free_memory(self) -> int | None:
        """Bytes that can be had without swapping; None where the kernel does not say."""
        for line in _text(self.slash / "proc/meminfo").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
        return None

    def routes(self) -> list[IPv4Network]:
        """Where this machine sends packets itself, the default route left out."""
        found = []
        for line in _text(self.slash / "proc/net/route").splitlines()[1:]:
            fields = line.split()
            # In the machine's byte order; Debian's are all little-endian but one.
            address, mask = (int.from_bytes(bytes.fromhex(fields[place]), sys.byteorder) for place in (1, 7))
            if mask:
                found.append(IPv4Network((address & mask, mask.bit_count())))
        return found

    def free_disk(self, path: str) -> int | None:
        """Free bytes where the engine keeps its data; None where that is not on this machine or not ours to see."""
        try:
            return shutil.disk_usage(path).free
        except OSError:
            return None

    def port_problem(self, address: str, port: int) -> str | None:
        """Why nothing could listen there; None when it could."""
        try:
            family, kind, _, _, target = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
        except (OSError, UnicodeError):
            return f"{address} is no address"
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(target)
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    return f"port {port} of {address} is taken"
                if error.errno == errno.EADDRNOTAVAIL:
                    return f"{address} is no address of this machine"
                # A port below 1024 that is not ours to bind is the engine's to bind: ask whether somebody answers.
                return f"port {port} of {address} is taken" if _answers(str(target[0]), port) else None
        return None


def _answers(address: str, port: int) -> bool:
    try:
        with socket.create_connection((address, port), timeout=2):
            return True
    except OSError:
        return False


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
