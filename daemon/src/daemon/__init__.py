"""The daemon's process: Dagster's own daemon, the sweep of run containers and its health."""
