"""Prepares the database at every start: roles, databases, Dagster's schema, grants. Changes only what differs."""
