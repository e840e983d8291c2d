"""Promise: a team changes what it runs without fear. The whole life of a deployment, on real data, each step read back.

The README shows what it prints. The machine has two code locations: ingestion with the sample source, and one that the
team has made itself, whose releases these are.
"""

import json
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.departures import DAYS, LOCATION
from tests.support.deployment import Deployment
from tests.support.flights import PARTITIONED
from tests.support.story import State, Story

pytestmark = pytest.mark.needs("ingestion")
SCHEDULE = {
    "repositoryLocationName": LOCATION,
    "repositoryName": "__repository__",
    "scheduleName": "every_morning",
}
START = "mutation Start($s: ScheduleSelector!) { startSchedule(scheduleSelector: $s) { __typename } }"
FILES = """
import hashlib, json, pathlib
files = pathlib.Path("/var/lib/lake").rglob("*.parquet")
print(json.dumps({str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}))
"""


@pytest.fixture
def story(tmp_path: Path, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest) -> Iterator[Story]:
    def tell(line: str) -> None:
        with capsys.disabled():
            print(line, flush=True)

    tell("")
    made = Story(tmp_path, tell)
    failed = request.session.testsfailed
    try:
        yield made
    finally:
        if request.session.testsfailed > failed:
            made.machine.keep_evidence()
        made.remove()


@pytest.mark.timeout(2400, func_only=True)
def test_the_life_of_a_deployment(story: Story) -> None:
    up_with_data(story)
    first = deploy(story)
    a_broken_version_is_refused(story, first)
    another_is_deployed(story)
    it_is_rolled_back(story, first)
    a_pull_request_is_reviewed(story)
    it_is_merged(story)
    before = a_backup_is_taken(story)
    the_machine_is_lost(story)
    it_is_restored(story, before)
    a_new_release_is_taken_over(story)


def up_with_data(story: Story) -> None:
    began = story.step("./stack up on an empty machine")
    printed = story.machine.stack("up")
    assert "Load code locations: ingestion, punctuality" in printed
    story.checked(f"ingestion and {LOCATION} load", began)
    began = story.step("A backfill of three days from the source")
    story.machine.user().backfill_to_the_end(PARTITIONED, DAYS, seconds=200)
    assert story.machine.user().ask(START, s=SCHEDULE)["startSchedule"]["__typename"] == "ScheduleStateResult"
    story.checked("flights and weather are in the lake; a schedule is on", began)


def deploy(story: Story) -> str:
    began = story.step(f"./stack deploy {LOCATION}: the first release, late is over 15 minutes")
    printed = story.machine.stack("deploy", LOCATION)
    assert f"Test {LOCATION} in its new image: 1 passed" in printed
    first = story.image()
    assert first.endswith(story.machine.head[:12])
    story.checked(f"{first.partition(':')[2]} serves, its tests passed in its image", began)
    story.count()
    story.equals_the_package(15)
    return first


def a_broken_version_is_refused(story: Story, first: str) -> None:
    story.commit("Late by a column that is not there", 15, column="departure_delay")
    before = story.machine.started()
    began = story.step("./stack deploy: a second version, which is broken")
    code, printed = story.machine.ask("deploy", LOCATION)
    assert code == 1
    assert f"the tests of {LOCATION} fail in its new image" in printed
    assert (story.machine.started(), story.image()) == (before, first)
    story.checked("refused by its own tests; no container was touched", began)
    story.count()
    story.equals_the_package(15)


def another_is_deployed(story: Story) -> None:
    story.commit("Late is over half an hour", 30)
    before = story.machine.started()
    began = story.step("./stack deploy: a third, late is over 30 minutes")
    story.machine.stack("deploy", LOCATION)
    now = story.machine.started()
    assert {name for name in now if now[name] != before[name]} == {LOCATION}
    story.checked(f"of {len(now)} containers one was replaced", began)
    story.count()
    story.equals_the_package(30)


def it_is_rolled_back(story: Story, first: str) -> None:
    began = story.step(f"./stack rollback {LOCATION}")
    story.machine.stack("rollback", LOCATION)
    assert story.image() == first
    story.checked("the first release serves again", began)
    story.count()
    story.equals_the_package(15)
    told = json.loads(story.machine.stack("releases", "--json"))
    results = [each["result"].partition(":")[0] for each in told if each["location"] == LOCATION]
    assert results == ["deployed", "failed", "deployed", "rolled back"]
    story.checked(f"./stack releases: {', '.join(results)}")


def a_pull_request_is_reviewed(story: Story) -> None:
    story.propose("Late is over an hour", 60)
    production = json.loads(story.machine.python("ingestion", FILES))
    production |= json.loads(story.machine.python(LOCATION, FILES))
    name = f"story-{uuid.uuid4().hex[:6]}"
    began = story.step("./stack branch create: production's mirror for a pull request")
    story.branch = Deployment(f"branch-{name}", root=story.machine.root)
    story.machine.stack("branch", "create", name, "--from", "FETCH_HEAD")
    story.branch.reached()
    story.checked(f"{story.branch.name} runs beside it, on clones of the lakes", began)
    story.count(story.branch)
    story.equals_the_package(60, story.branch)
    story.equals_the_package(15)
    now = json.loads(story.machine.python("ingestion", FILES)) | json.loads(story.machine.python(LOCATION, FILES))
    assert now == production
    story.checked(f"production's {len(now)} files are byte for byte what they were")


def it_is_merged(story: Story) -> None:
    began = story.step("The pull request is merged: ./stack branch delete, ./stack deploy")
    branch = story.branch
    assert branch is not None
    story.machine.stack("branch", "delete", branch.name.removeprefix("branch-"), "--yes")
    assert not any(branch.leftovers().values()), branch.leftovers()
    story.checked(f"nothing of {branch.name} is left", began)
    story.merge()
    story.machine.stack("deploy", LOCATION)
    assert story.image().endswith(story.machine.head[:12])
    story.checked("the merged commit serves", began)
    story.count()
    story.equals_the_package(60)


def a_backup_is_taken(story: Story) -> State:
    before = story.state()
    began = story.step("./stack backup")
    printed = story.machine.stack("backup")
    assert "Verified:" in printed
    story.checked("written, encrypted and verified", began)
    return before


def the_machine_is_lost(story: Story) -> None:
    began = story.step("The machine is lost: ./stack down --delete-data, and its disk with settings and secrets")
    passphrase = story.machine.secret("backup_passphrase")
    story.machine.stack("down", "--delete-data", "--yes")
    assert not any(story.machine.leftovers().values()), story.machine.leftovers()
    story.machine.close()
    shutil.rmtree(story.machine.root)
    story.machine.clone()
    secrets = story.machine.home / "secrets"
    secrets.mkdir(mode=0o700)
    (secrets / "backup_passphrase").write_text(passphrase)
    story.checked(
        "no container, volume, network or image is left; a new clone of the repository, and the passphrase", began
    )


def it_is_restored(story: Story, before: State) -> None:
    began = story.step("./stack restore")
    printed = story.machine.stack("restore", "--from", str(story.backups / story.machine.name))
    assert "Rows, runs and schedules are those that the backup wrote down." in printed
    story.machine.reached()
    story.checked("restored from the other disk", began)
    story.is_as(before)
    story.count()
    story.equals_the_package(60)


def a_new_release_is_taken_over(story: Story) -> None:
    version = story.new_release()
    before = story.state()
    code, printed = story.machine.ask("up")
    assert (code, "upgrade --dry-run shows the way there" in printed) == (1, True), printed
    began = story.step(f"./stack upgrade: release {version} of this repository was merged")
    assert "Read this first." in story.machine.stack("upgrade", "--dry-run")
    story.machine.stack("upgrade", "--yes")
    assert story.machine.ask("up")[0] == 0
    story.checked("./stack up refused it, the plan was shown, and now it serves", began)
    story.is_as(before)
    story.count()
    story.equals_the_package(60)
