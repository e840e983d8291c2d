"""The runner behind ./stack test: environments, suites, results."""
