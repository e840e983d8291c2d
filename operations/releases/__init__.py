"""Releases of code locations: what was deployed when and from which commit, and the way there and back."""
