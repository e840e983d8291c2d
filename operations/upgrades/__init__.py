"""Upgrade: from the release that the state was last brought to, to the one that is checked out."""
