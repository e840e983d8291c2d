"""Alerts of all code locations, from the event log: this location alone has a network that leads out."""
