"""Assets, checks, jobs and resources: each module here is loaded by its presence."""
