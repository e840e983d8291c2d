"""Assets, jobs, automation and resources: each module here is loaded by its presence."""
