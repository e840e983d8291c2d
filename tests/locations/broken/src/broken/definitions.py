"""Fails to import, as a team's bad morning does."""

raise RuntimeError("this location is broken on purpose")
