"""The side of the forge: what `ask` and `publish` start, with programs for ssh, aws and docker that take notes."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

FORGE = Path(__file__).resolve().parents[1]
KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\r\nabc\r\n-----END OPENSSH PRIVATE KEY-----"
HOST_KEY = "ssh-ed25519 AAAAC3"
SETTINGS = {"DEPLOY_HOST": "dagster@vm.example:2222", "DEPLOY_KEY": KEY, "DEPLOY_HOST_KEY": HOST_KEY}
NOTE = """#!/bin/sh
{ printf '%s ' "${0##*/}" "$@"; echo; } >>"$NOTES/calls"
"""
SSH = """
while [ $# -gt 0 ]; do
    case $1 in
        -i) cp "$2" "$NOTES/key"; stat -c %a "$2" >"$NOTES/mode" ;;
        UserKnownHostsFile=*) cp "${1#*=}" "$NOTES/known_hosts" ;;
    esac
    shift
done
[ -z "${AWS_WEB_IDENTITY_TOKEN_FILE:-}" ] || cp "$AWS_WEB_IDENTITY_TOKEN_FILE" "$NOTES/token"
exit "${SSH_EXIT:-0}"
"""
CURL = """
while [ $# -gt 0 ]; do
    case $1 in
        --config) cp "$2" "$NOTES/curl" ;;
        --output) printf '{"value": "a.b.c"}' >"$2" ;;
    esac
    shift
done
"""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    for name, body in (("ssh", SSH), ("curl", CURL), ("aws", "")):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(NOTE + body)
        program.chmod(0o755)
    (tmp_path / "tmp").mkdir()
    (tmp_path / "calls").touch()
    yield tmp_path
    # Keys and tokens are gone, however it ended.
    assert list((tmp_path / "tmp").iterdir()) == []


def run(place: Path, program: Path, *args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    path = f"{place / 'bin'}:/usr/bin:/bin"
    settings = {"PATH": path, "NOTES": str(place), "TMPDIR": str(place / "tmp"), **environment}
    return subprocess.run([program, *args], env=settings, capture_output=True, text=True, timeout=60)


def ask(place: Path, *args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return run(place, FORGE / "ask", *args, **{**SETTINGS, **environment})


def test_it_trusts_the_one_machine_and_offers_the_one_key(place: Path) -> None:
    assert ask(place, "branch", "delete", "1523").returncode == 0
    (call,) = (place / "calls").read_text().splitlines()
    assert call.endswith("-l dagster -- vm.example branch delete 1523 ")
    for option in ("StrictHostKeyChecking=yes", "HostKeyAlias=deployment", "IdentitiesOnly=yes", "ForwardAgent=no"):
        assert option in call
    assert "-p 2222 " in call
    assert "ProxyCommand=none" in call
    assert (place / "known_hosts").read_text() == f"deployment {HOST_KEY}\n"
    assert (place / "key").read_text() == KEY.replace("\r", "") + "\n"
    assert (place / "mode").read_text() == "600\n"


def test_the_key_is_in_no_argument(place: Path) -> None:
    ask(place, "reconcile")
    assert "abc" not in (place / "calls").read_text()


@pytest.mark.parametrize(("code", "hint"), [("0", False), ("1", False), ("3", False), ("255", True)])
def test_the_exit_code_is_that_of_the_verb(place: Path, code: str, hint: bool) -> None:
    done = ask(place, "reconcile", SSH_EXIT=code)
    assert done.returncode == int(code)
    assert ("was not reached" in done.stderr) is hint


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"DEPLOY_HOST": ""}, "DEPLOY_HOST is not set"),
        ({"DEPLOY_KEY": ""}, "DEPLOY_KEY is not set"),
        ({"DEPLOY_HOST_KEY": ""}, "anybody could answer in its place"),
        ({"DEPLOY_HOST": "vm.example"}, "expected: user@name"),
        ({"DEPLOY_HOST": "x@-oProxyCommand=id"}, "DEPLOY_HOST is"),
        ({"DEPLOY_HOST": "x@a b"}, "DEPLOY_HOST is"),
        ({"DEPLOY_HOST": "-x@y"}, "DEPLOY_HOST is"),
        ({"DEPLOY_HOST": "x@$(id)"}, "DEPLOY_HOST is"),
        ({"DEPLOY_HOST": "x@-i"}, "does not begin with -"),
        ({"DEPLOY_HOST": "x@i-0123456789abcdef0:5432", "AWS_REGION": "eu-central-1"}, "the session document says"),
    ],
)
def test_what_is_missing_or_wrong_is_told_before_anything_starts(
    place: Path, settings: dict[str, str], said: str
) -> None:
    done = ask(place, "reconcile", **settings)
    assert done.returncode == 64
    assert said in done.stderr
    assert (place / "calls").read_text() == ""


def test_nothing_asked_for_is_told(place: Path) -> None:
    assert "nothing is asked for" in ask(place).stderr


EC2 = {
    "DEPLOY_HOST": "dagster@i-0123456789abcdef0",
    "AWS_REGION": "eu-central-1",
    "AWS_ROLE_ARN": "arn:aws:iam::1:role/x",
}


def test_an_instance_is_reached_through_session_manager_with_the_forges_token(place: Path) -> None:
    done = ask(
        place, "reconcile", ACTIONS_ID_TOKEN_REQUEST_URL="https://forge.example/t?x=1",
        ACTIONS_ID_TOKEN_REQUEST_TOKEN="secret", **EC2,
    )  # fmt: skip
    assert done.returncode == 0
    asked, opened = (place / "calls").read_text().splitlines()
    assert asked.endswith("https://forge.example/t?x=1&audience=sts.amazonaws.com ")
    assert "ProxyCommand=aws ssm start-session --target %h --document-name stack-forge-ssh" in opened
    assert "portNumber" not in opened
    assert (place / "token").read_text() == "a.b.c"
    # Another process of the runner sees arguments, not files of ours.
    assert "secret" not in (place / "calls").read_text()
    assert "bearer secret" in (place / "curl").read_text()


def test_another_forge_brings_its_token_itself(place: Path) -> None:
    ask(place, "reconcile", DEPLOY_ID_TOKEN="d.e.f", **EC2)
    assert len((place / "calls").read_text().splitlines()) == 1
    assert (place / "token").read_text() == "d.e.f"


@pytest.mark.parametrize(("missing", "said"), [("AWS_REGION", "AWS_REGION is not set"), ("token", "id-token: write")])
def test_what_session_manager_needs_is_told(place: Path, missing: str, said: str) -> None:
    done = ask(place, "reconcile", **{key: value for key, value in EC2.items() if key != missing})
    assert done.returncode == 64
    assert said in done.stderr


# publish

DOCKER = """
[ "$1" != push ] || [ -z "${PUSH_FAILS:-}" ] || exit 1
if [ "$1 $2" = "image inspect" ]; then
    echo "other.example/sales@sha256:111"
    [ -n "${NO_DIGEST:-}" ] || echo "registry.example/team/sales@sha256:222"
fi
"""
STACK = """
ls code_locations/sales/src/sales >>"$NOTES/calls"
[ -z "${TESTS_FAIL:-}" ] || exit 1
"""


@pytest.fixture
def deployment(place: Path) -> Path:
    root = place / "deployment"
    (root / "deploy/forge").mkdir(parents=True)
    (root / "code_locations/ingestion").mkdir(parents=True)
    shutil.copy(FORGE / "publish", root / "deploy/forge/publish")
    for path, body in ((root / "stack", f"cd {root}\n{STACK}"), (place / "bin/docker", DOCKER)):
        path.write_text(NOTE + body)
        path.chmod(0o755)
    folder = place / "sales"
    for name in (
        "pyproject.toml",
        "requirements.lock",
        "src/sales/definitions.py",
        "tests/test_a.py",
        ".env",
        ".git/x",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return root


ARGS = ("sales", "sales", "registry.example/team/sales", "v1")


def publish(place: Path, root: Path, *args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    name, folder, *rest = args
    return run(place, root / "deploy/forge/publish", name, str(place / folder), *rest, **environment)


def test_it_tests_builds_pushes_and_prints_the_digest_of_that_registry(place: Path, deployment: Path) -> None:
    done = publish(place, deployment, *ARGS)
    assert done.stdout == "registry.example/team/sales@sha256:222\n"
    tested, _, built, pushed, _ = (place / "calls").read_text().splitlines()
    assert tested == "stack test --fast --only code_locations/sales "
    assert "--target location --tag registry.example/team/sales:v1 --build-arg SERVICE=code_locations/sales" in built
    assert pushed == "docker push registry.example/team/sales:v1 "
    assert [path.name for path in (deployment / "code_locations").iterdir()] == ["ingestion"]


@pytest.mark.parametrize(
    ("trouble", "last"),
    [("TESTS_FAIL", "definitions.py"), ("PUSH_FAILS", "docker push"), ("NO_DIGEST", "docker image")],
)
def test_what_fails_prints_no_reference_and_leaves_the_checkout_as_it_was(
    place: Path, deployment: Path, trouble: str, last: str
) -> None:
    done = publish(place, deployment, *ARGS, **{trouble: "1"})
    assert done.returncode != 0
    assert done.stdout == ""
    assert (place / "calls").read_text().splitlines()[-1].startswith(last)
    assert [path.name for path in (deployment / "code_locations").iterdir()] == ["ingestion"]


@pytest.mark.parametrize(
    ("index", "value", "said"),
    [
        (0, "../x", "the name '../x'"),
        (0, "Sales", "the name 'Sales'"),
        (0, "ingestion", "no src/ingestion/definitions.py"),
        (1, "nowhere", "nowhere has no pyproject.toml"),
        (2, "sales", "REGISTRY/IMAGE"),
    ],
)
def test_a_call_that_makes_no_sense_starts_nothing(
    place: Path, deployment: Path, index: int, value: str, said: str
) -> None:
    args = [*ARGS]
    args[index] = value
    done = publish(place, deployment, *args)
    assert done.returncode == 64
    assert said in done.stderr
    assert (place / "calls").read_text() == ""


def test_a_location_that_lives_here_is_not_overwritten(place: Path, deployment: Path) -> None:
    (deployment / "code_locations/sales").mkdir()
    assert "exists in the deployment repository" in publish(place, deployment, *ARGS).stderr
    assert (deployment / "code_locations/sales").is_dir()


def test_they_are_programs() -> None:
    assert all(os.access(FORGE / name, os.X_OK) for name in ("ask", "publish"))
