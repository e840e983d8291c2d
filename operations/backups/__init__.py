"""Backup and restore: what ./stack asks of the service `backup`, and in which order."""
