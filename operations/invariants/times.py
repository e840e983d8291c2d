"""How long two records may disagree before that is wrong, in seconds: the times that docs/runs.md promises."""

# run_monitoring.poll_interval_seconds: a dead container of a started run is found.
DEAD_IS_FOUND = 15
# The daemon's sweep, each 30 s: the same of a run that had not started yet.
DEAD_BEFORE_START_IS_FOUND = 30
# The sweep again, which gives a run's process a minute to end.
LEFT_OVER_IS_STOPPED = 90
# run_monitoring.start_timeout_seconds
MUST_START = 300
# run_monitoring.cancel_timeout_seconds
IS_CANCELED = 120
# run_monitoring.free_slots_after_run_end_seconds
SLOTS_ARE_FREE = 300
# RUN_KEEP_NEVER_STARTED of the broker: a container that was made and not started is removed.
NEVER_STARTED_IS_REMOVED = 300
# A crash is retried: Dagster looks for what has failed every few seconds, and starts over when the daemon does.
IS_RETRIED = 120
# A tick that was under way when the daemon died is taken up again.
TICK_ENDS = 600
# What a busy machine, or a daemon that is just starting, takes on top of each.
MARGIN = 60
# How far back runs that have ended are looked at.
LOOKS_BACK = 24 * 3600
