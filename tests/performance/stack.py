"""The stack in a Compose project of its own: a copy of this checkout, cut down to what is compared."""

import re
from pathlib import Path

from operations import docker as arguments
from operations.deployment import Deployment as Described
from operations.locations.plan import LIMITS
from tests.performance import plain, programs
from tests.support import locations
from tests.support.checkout import copy_checkout, remove_locations
from tests.support.deployment import OVERLAYS, Deployment, docker
from tests.support.graphql import GraphQL

# Samples that are measured. Whoever has removed them gets the other measurements.
KEPT = ("ingestion", "analytics")
# Two copies of a location with plain's definitions: one starts its runs cold, one keeps containers warm, as many as
# runs may go on at once.
COLD, WARM, KEPT_WARM = "cold", "warm", 12
TEST = '''"""The location has what is launched."""

from {name}.definitions import defs


def test_it_has_the_job() -> None:
    assert defs.resolve_job_def("quick")
'''


class Stack:
    """Up, down, and what it is asked."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.root = name, folder
        self.samples = tuple(one for one in KEPT if one in locations.shipped())
        copy_checkout(folder)
        self._cut_down()
        self.deployment = Deployment(name, OVERLAYS, root=folder, **programs.settings())
        self.deployment.settings["COMPOSE_FILE"] = ":".join(OVERLAYS)
        self.deployment.home.mkdir(parents=True)
        self.deployment.write_env()
        self._shipped = _services(folder)

    @property
    def client(self) -> GraphQL:
        return self.deployment.user()

    @property
    def address(self) -> str:
        return self.deployment.address

    def _cut_down(self) -> None:
        for name in (COLD, WARM):
            self._stack("location", "new", name)
            self._define(name)
        others = [name for name in locations.shipped() if name not in self.samples]
        remove_locations(self.root, others, self._stack)
        for name, label in ((COLD, ""), (WARM, f', run.warm: "{KEPT_WARM}"')):
            shown = f"code-location: {name}, {LIMITS}"
            self._replace("docker-compose.yml", f'{shown}, run.warm: "1"', f"{shown}{label}")
        # Plain has no limit for one location; with its 8 of 12 the stack could not be compared.
        self._replace("dagster.yaml", "limit: 8", "limit: 12")
        if "analytics" in self.samples:
            # Who measures a launch of the marts wants no second one beside it.
            self._replace(
                "code_locations/analytics/src/analytics/defs/automation.py", "Status.RUNNING", "Status.STOPPED"
            )
        programs.run(self.root, "git", "init", "--quiet")
        (self.root / ".git/info/exclude").write_text("/.venv\n")
        self.commit("What is compared")

    def _define(self, name: str) -> None:
        """Plain's definitions, with the executor that each location of the stack has."""
        folder = self.root / "code_locations" / name
        for path in sorted((*folder.glob(f"src/{name}/defs/**/*"), *folder.glob("tests/**/*")), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        text = (plain.FILES / "definitions.py").read_text()
        text = text.replace("jobs=[quick])", "jobs=[quick], executor=dg.in_process_executor)")
        if name == WARM:
            # One location has the asset: a key belongs to one.
            text = text.replace("assets=[table], ", "")
        (folder / f"src/{name}/definitions.py").write_text(text)
        (folder / "tests/test_definitions.py").write_text(TEST.format(name=name))

    def _replace(self, file: str, old: str, new: str) -> None:
        path = self.root / file
        text = path.read_text()
        assert text.count(old) == 1, f"{file}: expected {old!r} once, found it {text.count(old)} times"
        path.write_text(text.replace(old, new))

    def _stack(self, *args: str) -> str:
        return programs.run(self.root, "./stack", *args)

    def commit(self, subject: str) -> None:
        """What is deployed has to be a commit."""
        who = ("-c", "user.name=bench", "-c", "user.email=bench@example.org", "-c", "commit.gpgsign=false")
        programs.run(self.root, "git", "add", "--all")
        programs.run(self.root, "git", *who, "commit", "--quiet", "--message", subject)

    def build(self) -> None:
        """All images, so that the start is measured without them."""
        programs.run(self.root, *arguments.build(Described(self.root, self.name)))

    def up(self) -> None:
        """./stack up, which waits until all locations are loaded."""
        self.deployment.stack("up")

    def services(self) -> tuple[str, ...]:
        """Those whose memory counts: what is shipped, without the sample's source and the two small locations."""
        return self._shipped

    def sql(self, statement: str) -> str:
        """Has Postgres do something."""
        ask = "exec psql -h 127.0.0.1 -U postgres -d dagster -Atq -v ON_ERROR_STOP=1"
        script = f"PGPASSWORD=$(cat /run/secrets/postgres_password) {ask}"
        return docker("exec", "-i", self.deployment.container("postgres"), "sh", "-c", script, stdin=statement)

    def warm_containers(self) -> list[str]:
        """Containers of the small location that wait for a run."""
        listed = self.deployment.containers("label=run-broker.role=warm", "status=running")
        return [name for name in listed if name.startswith(f"{self.name}-{WARM}-")]

    def remove(self) -> None:
        """Takes all of it away."""
        self.deployment.close()
        plain.remove(self.name)


def _services(root: Path) -> tuple[str, ...]:
    text = (root / "docker-compose.yml").read_text().partition("\nservices:\n")[2].partition("\nnetworks:\n")[0]
    return tuple(name for name in re.findall(r"^  ([a-z_]+):$", text, re.MULTILINE) if name not in (COLD, WARM))
