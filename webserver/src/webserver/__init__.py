"""Dagster's webserver, with roles per code location, attribution of what people do, and an audit log."""
