"""Attack: a path, a name or a link that leads the webserver to a file outside of what it serves.

No answer ever holds /etc/passwd, Dagster's settings or a secret, and none is an error of the server: what is not
served is refused before anything is opened.
"""

import gzip
import json
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from tests.support import attacks
from tests.support.attacks import Answer, request
from tests.support.deployment import Deployment

ROUTES = {
    "a log": "/logs/{run}/compute_logs/{path}/out",
    "a log's kind": "/logs/{run}/compute_logs/{path}",
    "all logs": "/logs/{path}/out",
    "static files": "/_next/static/{path}",
    "a debug file": "/download_debug/{path}",
    "a notebook": "/notebook?repoLocName=probe&path={path}.ipynb",
    "a notebook's old address": "/dagit/notebook?repoLocName=probe&path={path}",
    "any page": "/{path}",
    "the versions": "/server_info/{path}",
}
UP = 9
TRICKS = {
    "dots": "../" * UP + "etc/passwd",
    "encoded dots": "%2e%2e/" * UP + "etc/passwd",
    "encoded slashes": "..%2f" * UP + "etc%2fpasswd",
    "all of it encoded": "%2e%2e%2f" * UP + "etc%2fpasswd",
    "encoded twice": "%252e%252e%252f" * UP + "etc%252fpasswd",
    "backslashes": "..\\" * UP + "etc\\passwd",
    "encoded backslashes": "..%5c" * UP + "etc%5cpasswd",
    "dots that survive their removal": "....//" * UP + "etc/passwd",
    "semicolons": "..;/" * UP + "etc/passwd",
    "an absolute path": "/etc/passwd",
    "an encoded absolute path": "%2fetc%2fpasswd",
    "two slashes": "//" + "..//" * UP + "etc//passwd",
    "a null byte": "../" * UP + "etc/passwd%00.out",
    "only a null byte": "%00",
    "an overlong encoding": "%c0%ae%c0%ae%c0%af" * UP + "etc%c0%afpasswd",
    "dots of another script": "%ef%bc%8e%ef%bc%8e/" * UP + "etc/passwd",
    "slashes of another script": "..%ef%bc%8f" * UP + "etc%ef%bc%8fpasswd",
    "a leader of two dots": "%e2%80%a5/" * UP + "etc/passwd",
    "an address of a file": "file:///etc/passwd",
    "the process": "/proc/self/root/etc/passwd",
    "line ends": "..%0d%0a/" * UP + "etc/passwd",
    "a surrogate": "%ed%b0%80/etc/passwd",
    "a home": "~root/../etc/passwd",
    "a name of a thousand parts": "a/" * 1000 + "../" * 1000 + "etc/passwd",
    "a name that is too long": "a" * 5000,
}


def holds_nothing(deployment: Deployment, answer: Answer) -> None:
    """An answer without any of what must not be read, compressed or not."""
    assert 200 <= answer.status < 500, answer
    assert answer.status != 499, "the client has left"
    body = gzip.decompress(answer.body) if answer.body.startswith(b"\x1f\x8b") else answer.body
    assert [secret for secret in attacks.secrets(deployment) if secret in body] == []
    # Nor does it send somebody elsewhere.
    assert answer.headers.get("location", "/").removeprefix(deployment.address).startswith("/")
    assert not answer.headers.get("location", "/").startswith("//")


def test_what_must_not_be_read_is_there_to_be_read(deployment: Deployment) -> None:
    source = "print(open('/etc/passwd').read(), open('/opt/dagster/home/dagster.yaml').read())"
    found = deployment.python("webserver", source).encode()
    secrets = attacks.secrets(deployment)
    assert [secret for secret in secrets if secret in found] == secrets[:2]
    assert len(secrets) > 8
    with pytest.raises(AssertionError):
        holds_nothing(deployment, Answer(200, {}, gzip.compress(found)))


@pytest.mark.parametrize("trick", TRICKS.values(), ids=TRICKS.keys())
@pytest.mark.parametrize("route", ROUTES.values(), ids=ROUTES.keys())
def test_a_path_leads_to_no_other_file(deployment: Deployment, route: str, trick: str) -> None:
    target = route.format(run=attacks.finished_run(deployment), path=trick)
    holds_nothing(deployment, request(deployment, "victor", target))


@pytest.mark.parametrize("trick", TRICKS.values(), ids=TRICKS.keys())
def test_a_path_leads_nowhere_without_sign_in(deployment: Deployment, trick: str) -> None:
    for route in ROUTES.values():
        target = route.format(run=attacks.finished_run(deployment), path=trick)
        for method in ("GET", "HEAD", "POST"):
            assert request(deployment, None, target, method).status in (400, 401)


FILES = {
    "the settings": "opt/dagster/home/dagster.yaml",
    "the access file": "opt/dagster/access.yaml",
    "a secret": "run/secrets/gateway_token",
    "the environment": "proc/self/environ",
    "the audit log": "var/lib/dagster/audit/audit.jsonl",
    "another location's logs": "var/lib/dagster/logs/ingestion",
    "the code": "proc/self/cwd/webserver/app.py",
}


@pytest.mark.parametrize("file", FILES.values(), ids=FILES.keys())
@pytest.mark.parametrize("up", ["../", "%2e%2e/", "..%2f", "%252e%252e/"], ids=["plain", "dots", "slashes", "twice"])
def test_no_path_leads_to(deployment: Deployment, up: str, file: str) -> None:
    for route in ROUTES.values():
        target = route.format(run=attacks.finished_run(deployment), path=up * UP + file)
        answer = request(deployment, "victor", target)
        holds_nothing(deployment, answer)
        assert b'"log": "audit"' not in answer.body
        assert b"class Webserver(" not in answer.body


LOG_KEYS = {
    "a parent": ["..", "..", "..", "..", "etc", "passwd"],
    "a path as one part": ["../../../../etc/passwd"],
    "an absolute path": ["/etc/passwd"],
    "a backslash": ["..\\..\\etc\\passwd"],
    "an empty part": ["", "etc", "passwd"],
    "a null byte": ["a\0b"],
    "a line end": ["a\nb"],
    "only blanks": [" "],
    "nothing": [],
    "a very long part": ["x" * 10_000],
    "very many parts": ["x"] * 10_000,
}
LOGS = """query($k: [String!]!) {
  capturedLogs(logKey: $k) { stdout stderr } capturedLogsMetadata(logKey: $k) { stdoutLocation stderrLocation } }"""


@pytest.mark.parametrize("key", LOG_KEYS.values(), ids=LOG_KEYS.keys())
def test_the_key_of_a_log_leads_to_no_other_file(deployment: Deployment, key: list[str]) -> None:
    answer = deployment.user("victor").answer(LOGS, k=key)
    holds_nothing(deployment, Answer(answer.status_code, {}, answer.content))


# What hostile code of a location can leave among its logs, which the webserver reads.
LEFT = {
    "a link to a file": "os.symlink('/etc/passwd', path)",
    "a link up": "os.symlink('../../../../../../etc/passwd', path)",
    "a link to a link": "os.symlink('/etc/passwd', path + '.link'); os.symlink(path + '.link', path)",
    "a link to a secret": "os.symlink('/run/secrets/gateway_token', path)",
    "a link to the process": "os.symlink('/proc/self/environ', path)",
    "a link to itself": "os.symlink(path, path)",
    "a pipe": "os.mkfifo(path)",
    "a directory": "os.mkdir(path)",
    "a socket": "s = socket.socket(socket.AF_UNIX); os.chdir(os.path.dirname(path)); s.bind(os.path.basename(path))",
}


@pytest.fixture(scope="module")
def left(deployment: Deployment) -> Iterator[str]:
    """The folder of logs of a run of probe, with what hostile code left there."""
    run = attacks.finished_run(deployment)
    folder = f"/var/lib/dagster/logs/{run}/compute_logs"
    lines = ["import os, socket", f"open('{folder}/plain.out', 'w').write('this is a log')"]
    lines += [f"path = '{folder}/attack{number}.out'; {how}" for number, how in enumerate(LEFT.values())]
    lines += [f"os.symlink('/etc', '{folder}/house')"]
    deployment.python("probe", "\n".join(lines))
    yield f"/logs/{run}/compute_logs"
    remove = f"""
import os, shutil
for name in os.listdir('{folder}'):
    path = os.path.join('{folder}', name)
    if name.startswith(('attack', 'plain', 'house')):
        shutil.rmtree(path) if os.path.isdir(path) and not os.path.islink(path) else os.unlink(path)
"""
    deployment.python("probe", remove)


@pytest.mark.parametrize("number", range(len(LEFT)), ids=LEFT.keys())
def test_what_a_run_left_among_its_logs_is_not_followed(deployment: Deployment, left: str, number: int) -> None:
    answer = request(deployment, "victor", f"{left}/attack{number}/out")
    assert answer.status in (400, 404)
    holds_nothing(deployment, answer)
    key = [*left.split("/")[2:], f"attack{number}"]
    logs = deployment.user("victor").answer(LOGS, k=key)
    holds_nothing(deployment, Answer(logs.status_code, {}, logs.content))


def test_a_folder_that_is_a_link_is_not_entered(deployment: Deployment, left: str) -> None:
    answer = request(deployment, "victor", f"{left}/house/passwd/out")
    assert answer.status in (400, 404)
    holds_nothing(deployment, answer)


def test_a_log_among_them_is_read(deployment: Deployment, left: str) -> None:
    answer = request(deployment, "victor", f"{left}/plain/out")
    assert (answer.status, answer.body) == (200, b"this is a log")
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.headers["content-disposition"].startswith("attachment")


REPORTS = ["report_asset_materialization", "report_asset_check", "report_asset_observation"]
WHO = {
    "not signed in": (None, 401),
    "no role": ("nobody", 403),
    "a viewer": ("victor", 403),
    "an editor": ("dana", 403),
}
JSON = b"Content-Type: application/json\r\n"
NAMED = {
    "in the path": ("probe/table", {}),
    "encoded in the path": ("probe%2Ftable", {}),
    "in the body": ("", {"asset_key": ["probe", "table"]}),
    "in the query": ("?asset_key=" + quote('["probe", "table"]'), {}),
    "in the path, with an own one in the body": ("probe/table", {"asset_key": ["ingestion", "raw", "airlines"]}),
    "in the body, with an own one in the query": (
        "?asset_key=" + quote('["ingestion", "raw", "airlines"]'),
        {"asset_key": ["probe", "table"]},
    ),
    "with dots in the path": ("ingestion/raw/../../probe/table", {}),
}


@pytest.mark.needs("ingestion")
@pytest.mark.parametrize(("key", "sent"), NAMED.values(), ids=NAMED.keys())
@pytest.mark.parametrize(("user", "status"), WHO.values(), ids=WHO.keys())
@pytest.mark.parametrize("report", REPORTS)
def test_an_event_of_another_locations_asset_is_not_taken(
    deployment: Deployment, report: str, user: str | None, status: int, key: str, sent: dict[str, list[str]]
) -> None:
    body = json.dumps({"check_name": "c", "passed": True, "severity": "WARN", **sent}).encode()
    lines = JSON + f"Content-Length: {len(body)}\r\n\r\n".encode() + body
    answer = request(deployment, user, f"/{report}/{key}", "POST", lines)
    assert answer.status == status
    if user in ("victor", "dana"):
        assert f"{user} (".encode() in answer.body


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"])
@pytest.mark.parametrize("report", REPORTS)
def test_an_event_is_reported_by_no_other_method(deployment: Deployment, report: str, method: str) -> None:
    assert request(deployment, "admin", f"/{report}/probe/table", method).status in (400, 405)


PAGES = ["/download_debug/{run}", "/logs/{run}/compute_logs/x/out", "/notebook?repoLocName=probe&path=x.ipynb"]
PAGES += ["/dagit/notebook?repoLocName=probe&path=x.ipynb", "/server_info", "/dagit_info", "/", "/runs/{run}"]
PAGES += ["/favicon.ico", "/_next/static/x.js", "/graphql", "/graphql?query=%7Bversion%7D", "//", "/%2e/", "/health"]


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "CONNECT"])
def test_a_page_is_not_served_without_sign_in(deployment: Deployment, method: str, page: str) -> None:
    answer = request(deployment, None, page.format(run=attacks.finished_run(deployment)), method)
    assert answer.status in (400, 401)
    assert b"dagster" not in answer.body.lower()


@pytest.mark.parametrize("page", [page for page in PAGES if page not in ("/server_info",)])
def test_a_page_is_not_served_without_a_role(deployment: Deployment, page: str) -> None:
    answer = request(deployment, "nobody", page.format(run=attacks.finished_run(deployment)))
    assert answer.status == 403


@pytest.mark.parametrize("user", ["victor", pytest.param("dana", marks=pytest.mark.needs("ingestion"))])
@pytest.mark.parametrize("page", ["/notebook", "/dagit/notebook", "//notebook", "/notebook/", "/%6eotebook"])
def test_a_notebook_of_another_location_is_not_shown(deployment: Deployment, user: str, page: str) -> None:
    answer = request(deployment, user, f"{page}?repoLocName=probe&path=/etc/passwd.ipynb")
    assert answer.status in (200, 307, 403, 404)
    assert answer.status != 200 or answer.body.startswith(b"<!DOCTYPE html")
    holds_nothing(deployment, answer)


def test_a_debug_file_of_a_run_is_of_that_run_alone(deployment: Deployment) -> None:
    run = attacks.finished_run(deployment)
    answer = request(deployment, "victor", f"/download_debug/{run}")
    assert answer.status == 200
    holds_nothing(deployment, answer)
    assert run.encode() in gzip.decompress(answer.body)
    for other in (run.upper(), run + "%20", run[:-1], run.replace("-", ""), "%25", "*", "' or '1'='1"):
        assert request(deployment, "victor", f"/download_debug/{quote(other, safe='%')}").status in (400, 404)
