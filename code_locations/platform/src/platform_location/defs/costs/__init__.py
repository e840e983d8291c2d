"""What materialisations cost: collected from the event log, reported by asset, location, team and day."""
