"""What `check` holds together. Each module returns all problems it sees, not the first."""
