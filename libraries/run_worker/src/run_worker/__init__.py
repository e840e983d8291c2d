"""A process that has imported Dagster and a location's definitions, and waits for one run of that location."""
