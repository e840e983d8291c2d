"""Adding and removing code locations: the files that name one are edited as text, checked, and written together."""
