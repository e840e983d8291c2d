"""Code location `analytics`: dbt models on the lake."""
