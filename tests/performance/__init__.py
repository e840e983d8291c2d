"""What ./stack bench measures: this deployment beside Dagster's own example with its defaults."""
