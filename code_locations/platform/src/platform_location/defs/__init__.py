"""Definitions: one folder a subject, found without wiring."""
