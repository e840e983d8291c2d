"""Code location `platform`: keeps the others' roles, lakes and logs in order, tells of failures, counts costs.

The package has another name than the location, for Python has a module called platform.
"""
