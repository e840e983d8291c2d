"""Backups of a deployment: Postgres by pgBackRest, lakes, audit log, settings and secrets by restic, in step."""
