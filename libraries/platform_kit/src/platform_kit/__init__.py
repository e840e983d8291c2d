"""What code locations share: where they run, the lake, Postgres and HTTP sources.

Import the module you need (`platform_kit.environment`, `.lake`, `.postgres`, `.http_api`): nothing is imported here, so
that a location which only asks where it runs needs no other library.
"""
