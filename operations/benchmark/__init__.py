"""What is made of the numbers that ./stack bench takes: ratios, goals, tables. Nothing is measured here."""

# What can be measured, in the order in which it is (tests/performance has the how).
MEASURES = {
    "startup": "from built images to loaded locations",
    "memory": "of both while nothing runs",
    "ladder": "a run's stages: plain, cold, warm in turn",
    "throughput": "24 short runs at 12 in parallel",
    "deploys": "a new version of one location, and the way back",
    "backfill": "a year of flights, and the models on top",
    "history": "queries of the UI on 20,000 runs",
}
# Measures nothing: tables and plot of the last numbers once more.
REPORT = "report"
