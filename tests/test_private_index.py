"""Promise: an image is built from a private index with a password, and the password is nowhere afterwards."""

import base64
import hashlib
import ipaddress
import json
import shutil
import socket
import subprocess
import sys
import tarfile
import uuid
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import yaml

from tests.support.deployment import ROOT, docker, free_port
from tests.support.waiting import wait_until

USER, PASSWORD = "builder", f"only-for-the-index-{uuid.uuid4().hex}"
VERSION = "99.0.1"
OVERLAY = ROOT / "deploy" / "overlays" / "private-index.yml"
# One of the locations that the overlay is about, whichever this checkout has.
NAMES = sorted((yaml.safe_load(OVERLAY.read_text()).get("services") or {}) if OVERLAY.is_file() else {})
LOCATION = NAMES[0] if NAMES else ""
pytestmark = pytest.mark.skipif(not NAMES, reason="no code location is built from a private index")


@dataclass
class Index:
    """A real index, on the address that builds reach this machine by."""

    address: str
    wheel: Path


@dataclass
class Project:
    """A Compose project with the shipped overlay, whose one built location pins what only the index has."""

    name: str
    folder: Path

    def build(self, password: str) -> subprocess.CompletedProcess[str]:
        (self.folder / "secrets" / "library_index_password").write_text(password + "\n")
        files = ["-f", str(self.folder / "docker-compose.yml"), "-f", str(OVERLAY)]
        place = ["--project-directory", str(self.folder), "--env-file", str(self.folder / ".env"), "-p", self.name]
        command = ["docker", "compose", *files, *place, "--progress", "plain", "build", LOCATION]
        return subprocess.run(command, capture_output=True, text=True, timeout=600)


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    packages, users = tmp_path / "packages", tmp_path / "users"
    packages.mkdir()
    wheel = _wheel(packages)
    users.write_text(f"{USER}:{{SHA}}{base64.b64encode(hashlib.sha1(PASSWORD.encode()).digest()).decode()}\n")
    bridge = json.loads(docker("network", "inspect", "bridge"))[0]["IPAM"]["Config"][0]
    address, port = str(ipaddress.ip_network(bridge["Subnet"])[1]), free_port()
    options = ["-p", str(port), "-i", address, "-P", str(users), "-a", "update,download,list", "--disable-fallback"]
    with (tmp_path / "index.log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "pypiserver", "run", *options, str(packages)], stdout=log, stderr=log
        )
    try:
        wait_until(lambda: _listens(address, port), seconds=60, what="the package index")
        url = f"http://{address}:{port}/simple/"
        assert httpx.get(url).status_code == 401
        assert httpx.get(url, auth=(USER, PASSWORD)).status_code == 200
        yield Index(url, wheel)
    finally:
        server.terminate()
        server.wait(timeout=10)


@pytest.fixture
def project(tmp_path: Path, index: Index) -> Iterator[Project]:
    own = Project(f"test-{uuid.uuid4().hex[:8]}", tmp_path / "project")
    context, location = own.folder, own.folder / "code_locations" / LOCATION
    (location / "src" / LOCATION).mkdir(parents=True)
    (location / "src" / LOCATION / "__init__.py").write_text("")
    digest = hashlib.sha256(index.wheel.read_bytes()).hexdigest()
    (location / "requirements.lock").write_text(f"platform-kit=={VERSION} \\\n    --hash=sha256:{digest}\n")
    for folder in ("deploy/images", "libraries"):
        shutil.copytree(ROOT / folder, context / folder, ignore=shutil.ignore_patterns("tests", "__pycache__"))
    (context / "secrets").mkdir()
    settings = {"LIBRARY_INDEX": index.address, "LIBRARY_INDEX_USER": USER}
    (context / ".env").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    (context / "docker-compose.yml").write_text(yaml.safe_dump({"services": _services(own)}))
    yield own
    docker("image", "rm", "--force", f"{own.name}/{LOCATION}", check=False)


def test_a_location_is_built_from_it_and_the_password_is_nowhere(project: Project, tmp_path: Path) -> None:
    built = project.build(PASSWORD)
    assert built.returncode == 0, built.stdout[-3000:] + built.stderr[-3000:]
    image = f"{project.name}/{LOCATION}"
    found = docker(
        "run",
        "--rm",
        "--name",
        f"{project.name}-look",
        image,
        "python",
        "-c",
        "import platform_kit as kit; print(kit.VERSION)",
    )
    assert found.strip() == VERSION
    assert PASSWORD not in built.stdout + built.stderr
    assert PASSWORD not in docker("history", "--no-trunc", image)
    assert PASSWORD not in docker("image", "inspect", image)
    docker("save", "--output", str(tmp_path / "image.tar"), image)
    assert VERSION.encode() in b"".join(
        _searched(tmp_path / "image.tar", VERSION.encode())
    )  # the search finds what is there
    assert list(_searched(tmp_path / "image.tar", PASSWORD.encode())) == []


def test_a_wrong_password_stops_the_build_and_says_so(project: Project, index: Index) -> None:
    built = project.build("a-wrong-one")
    printed = built.stdout + built.stderr
    assert built.returncode != 0
    assert "401" in printed, printed[-3000:]
    assert f"LIBRARY_INDEX is '{index.address}'" in printed
    assert "a-wrong-one" not in printed


def test_without_the_overlay_nothing_of_it_is_asked_for() -> None:
    base = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    builds = [spec["build"] for spec in base["services"].values() if "build" in spec]
    assert [build for build in builds if "secrets" in build] == []


def _services(project: Project) -> dict[str, object]:
    """The services that the overlay adds to, all built like the one."""
    args = {"SERVICE": f"code_locations/{LOCATION}", "NAME": LOCATION}
    build = {
        "context": ".",
        "dockerfile": "deploy/images/python-service.Dockerfile",
        "target": "location",
        "args": args,
    }
    return {name: {"image": f"{project.name}/{name}", "build": build} for name in NAMES}


def _wheel(folder: Path) -> Path:
    """A release that only the private index has."""
    path, info = folder / f"platform_kit-{VERSION}-py3-none-any.whl", f"platform_kit-{VERSION}.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("platform_kit/__init__.py", f'VERSION = "{VERSION}"\n')
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: platform_kit\nVersion: {VERSION}\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    return path


def _listens(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), timeout=1).close()
    except OSError:
        return False
    return True


def _searched(image: Path, wanted: bytes) -> Iterator[bytes]:
    """Contents with `wanted` in them: of the image's own files and of every file in every layer."""
    with tarfile.open(image) as archive:
        for member in archive:
            file = archive.extractfile(member) if member.isfile() else None
            if file is None:
                continue
            if member.name.endswith("layer.tar") or member.name.startswith("blobs/"):
                try:
                    with tarfile.open(fileobj=file) as layer:
                        for inner in layer:
                            content = layer.extractfile(inner) if inner.isfile() else None
                            if content is not None and wanted in (data := content.read()):
                                yield data
                    continue
                except tarfile.ReadError:
                    file.seek(0)
            if wanted in (data := file.read()):
                yield data
