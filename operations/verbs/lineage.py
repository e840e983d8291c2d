"""lineage: write the asset graph of the running deployment as a page with diagrams."""

from operations import gateway, lineage
from operations.context import Context
from operations.errors import StackError


def write(context: Context) -> int:
    """Ask the running deployment for its assets and write docs/lineage.md."""
    deployment = context.deployment
    if not gateway.runs(context.containers()):
        raise StackError(
            f"{deployment.name} does not run",
            "the running deployment, whose graph is drawn",
            f"{deployment.stack} up, then repeat",
        )
    client = gateway.as_admin(deployment)
    try:
        broken = [location.name for location in client.locations() if location.loading or location.error]
        if broken:
            raise StackError(
                f"not loaded: {', '.join(broken)}",
                "every code location loaded: a diagram without one would be wrong",
                f"{deployment.stack} doctor",
            )
        assets = client.assets()
    except gateway.UnreachableError as error:
        raise StackError(str(error), "GraphQL to answer", f"{deployment.stack} doctor") from error
    changed = lineage.write(deployment, assets)
    context.report.say(
        f"{'Wrote' if changed else 'Unchanged:'} {lineage.FILE}, {len(assets)} assets of "
        f"{len({asset.location for asset in assets})} locations."
    )
    return 0
