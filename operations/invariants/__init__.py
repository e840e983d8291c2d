"""What runs, containers, events, schedules, pools and lakes must say of each other. One pure module a relation."""
