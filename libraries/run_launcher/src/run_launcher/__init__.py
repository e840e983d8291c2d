"""How webserver and daemon start, watch, explain and attribute runs.

Only the deployment's own services import this package: what crosses to a code location names nothing of it
(`run_launcher.references`), so that a location's image needs Dagster and nothing more.
"""
