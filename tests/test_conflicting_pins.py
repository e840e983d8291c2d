"""Promise: libraries that conflict live side by side, each in its own location."""

import json

import pytest

from tests.support.deployment import ROOT, Deployment

pytestmark = pytest.mark.needs("eta", "reporting")

ASK = "import importlib.metadata as m, pandas; print(pandas.__version__, m.version('dagster'))"


def test_two_running_locations_have_versions_of_a_library_that_exclude_each_other(deployment: Deployment) -> None:
    found = {name: deployment.python(name, ASK).split() for name in ("eta", "reporting")}
    pandas = {name: version for name, (version, _) in found.items()}
    print("\npandas in running containers:", json.dumps(pandas))
    assert pandas["eta"].startswith("2.")
    assert int(pandas["reporting"].partition(".")[0]) >= 3
    for name, version in pandas.items():
        lock = (ROOT / "code_locations" / name / "requirements.lock").read_text()
        assert f"\npandas=={version} " in lock, name
    assert len({dagster for _, dagster in found.values()}) == 1, "the deployment's own version is everybody's"
