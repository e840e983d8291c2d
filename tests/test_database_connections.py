"""Promise: runs share few connections to the database, and outlive the loss of one."""

import pytest

from tests.support.deployment import Deployment
from tests.support.flights import YEAR
from tests.support.graphql import GraphQL


def sessions(deployment: Deployment) -> int:
    """How many connections to Dagster's database there have been."""
    # The server counts a session when it ends, and tells of it within a second.
    return int(deployment.sql("SELECT sessions FROM pg_stat_database WHERE datname = 'dagster'")[0][0])


@pytest.mark.needs("ingestion")
def test_a_month_of_partitions_opens_no_connection_an_event(deployment: Deployment, admin: GraphQL) -> None:
    before = sessions(deployment)
    admin.backfill_to_the_end(["ingestion/raw/weather"], YEAR[:31], seconds=120)
    # Dagster's default opened more than 500 here; daemon, webserver and the run itself are all counted.
    assert sessions(deployment) - before < 120


def test_connections_that_are_cut_are_replaced(deployment: Deployment, admin: GraphQL) -> None:
    cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = 'dagster' AND state = 'idle'"
    assert int(deployment.sql(cut)[0][0]) > 0
    assert "probe" in admin.locations()
    run = admin.launch("probe", "succeed")
    admin.wait_for(run, "SUCCESS")
