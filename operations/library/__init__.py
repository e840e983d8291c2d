"""Releases of the library that code locations share, and the index they come from."""
