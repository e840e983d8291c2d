"""Promise: down --delete-data leaves nothing behind. Runs last."""

from tests.support.deployment import Deployment
from tests.support.graphql import GraphQL


def test_down_delete_data_leaves_nothing_not_even_a_live_run(deployment: Deployment, admin: GraphQL) -> None:
    run = admin.launch("probe", "hang")
    admin.wait_for(run, "STARTED")
    assert deployment.run_containers(run)
    deployment.stack("down", "--delete-data", "--yes")
    assert deployment.leftovers() == {"containers": [], "volumes": [], "networks": [], "images": []}
    assert not (deployment.home / "secrets").exists()
