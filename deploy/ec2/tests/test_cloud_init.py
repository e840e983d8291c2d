"""User data and policies as files. tests/test_ec2.py has cloud-init itself judge the former, and runs what is in it."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.ec2.machine import host, steps, volume

FOLDER = Path(__file__).resolve().parents[1]
TEXT = (FOLDER / "cloud-init.yaml").read_text()
DATA: dict[str, Any] = yaml.safe_load(TEXT)
FILES = {file["path"]: file for file in DATA["write_files"]}
POLICIES = sorted((FOLDER / "policies").glob("*.json"))


def test_it_fits_into_user_data() -> None:
    assert TEXT.startswith("#cloud-config\n")
    assert len(TEXT.encode()) < 16 * 1024


def test_it_ends_with_the_setup_that_ends_with_stack_up() -> None:
    assert DATA["runcmd"] == [["/usr/local/sbin/stack-bootstrap"]]
    assert '"deploy/ec2/setup"' in FILES["/usr/local/sbin/stack-bootstrap"]["content"]
    unit = (FOLDER.parent / "systemd/stack.service").read_text()
    assert "ExecStart=@CHECKOUT@/stack up\n" in unit


def test_its_settings_are_those_that_setup_reads(tmp_path: Path) -> None:
    conf = tmp_path / "etc/stack/machine.conf"
    conf.parent.mkdir(parents=True)
    conf.write_text(FILES["/etc/stack/machine.conf"]["content"])
    assert host.wish(host.Host(tmp_path)).data_volume == "auto"
    keys = {line.partition("=")[0] for line in conf.read_text().splitlines() if line and line[0] != "#"}
    assert keys == set(host.KEYS)


def test_it_holds_no_secret_and_opens_no_door() -> None:
    assert DATA["ssh_pwauth"] is False
    assert DATA["disable_root"] is True
    assert not {"chpasswd", "password", "ssh_authorized_keys", "users"} & set(DATA)
    assert not re.search(r"BEGIN [A-Z ]*PRIVATE KEY|AKIA[0-9A-Z]{16}", TEXT)


def test_the_program_in_it_is_sound(tmp_path: Path) -> None:
    script = tmp_path / "bootstrap.py"
    script.write_text(FILES["/usr/local/sbin/stack-bootstrap"]["content"])
    ruff = Path(sys.executable).with_name("ruff")
    config = FOLDER.parents[1] / "pyproject.toml"
    done = subprocess.run([ruff, "check", "--no-cache", "--config", config, script], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_where_things_are_is_said_once() -> None:
    content = FILES["/usr/local/sbin/stack-bootstrap"]["content"]
    assert f'Path("{steps.PARAMETERS}")' in content
    assert steps.CHECKOUT.startswith(f"{volume.MOUNT}/")
    assert steps.ENGINE["data-root"] == f"{volume.MOUNT}/docker"


@pytest.mark.parametrize("path", POLICIES, ids=lambda path: path.stem)
def test_no_policy_allows_more_than_it_names(path: Path) -> None:
    policy = json.loads(path.read_text())
    assert policy["Version"] == "2012-10-17"
    for statement in policy["Statement"]:
        assert re.fullmatch("[A-Za-z0-9]+", statement["Sid"])
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        if statement["Effect"] == "Allow":
            assert not [action for action in actions if "*" in action]
            resources = statement.get("Resource", [])
            assert "*" not in (resources if isinstance(resources, list) else [resources])


def test_backups_can_be_written_and_old_versions_not_ended_by_the_same_key() -> None:
    user, bucket = (json.loads((FOLDER / f"policies/backup-{name}.json").read_text()) for name in ("user", "bucket"))
    allowed = {action for each in user["Statement"] for action in each["Action"]}
    assert {"s3:PutObject", "s3:GetObject", "s3:DeleteObject"} <= allowed
    denied = {
        action
        for each in bucket["Statement"]
        for action in ([each["Action"]] if isinstance(each["Action"], str) else each["Action"])
    }
    assert "s3:DeleteObjectVersion" in denied
    assert not allowed & denied


def test_a_forge_reaches_the_port_of_sshd_and_chooses_no_other() -> None:
    session = json.loads((FOLDER / "forge-session.json").read_text())
    assert session["sessionType"] == "Port"
    assert session["parameters"] == {}
    # Without a type, the connection is the caller's standard input and output, as ssh wants it.
    assert session["properties"] == {"portNumber": "22"}
    allowed = json.loads((FOLDER / "policies/forge.json").read_text())["Statement"]
    (opens,) = [each for each in allowed if each["Action"] == "ssm:StartSession"]
    documents = [resource for resource in opens["Resource"] if ":document/" in resource]
    # AWS' own documents, whose owner is no account, let their caller name any port, or any host behind.
    assert documents == ["arn:aws:ssm:REGION:ACCOUNT:document/stack-forge-ssh"]
    assert opens["Condition"] == {"BoolIfExists": {"ssm:SessionDocumentAccessCheck": "true"}}
    assert "--document-name stack-forge-ssh'" in (FOLDER.parent / "forge/ask").read_text()
