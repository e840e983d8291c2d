"""Code location `reporting`: reports as YAML, one folder each in `defs/`."""
