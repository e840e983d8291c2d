"""Writing and trying migrations of a location's tables on this machine."""
