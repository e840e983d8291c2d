"""Who may do what: people and roles, machines and lakes (access.yaml); names of code locations (workspace.yaml).

Needs pydantic and PyYAML only, so that the webserver, the migration and the operator's command line share it.
"""

from access.errors import AccessError
from access.locations import check_location_name, check_package_name, load_locations
from access.models import Access, Machine, Members, People, Permissions, Role
from access.reader import load, loads

__all__ = [
    "Access",
    "AccessError",
    "Machine",
    "Members",
    "People",
    "Permissions",
    "Role",
    "check_location_name",
    "check_package_name",
    "load",
    "load_locations",
    "loads",
]
