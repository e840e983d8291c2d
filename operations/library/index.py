"""Where uv looks for packages on this machine: the deployment's index, and the private one of the shared library."""

from operations.deployment import Deployment
from operations.errors import StackError

# Its name in uv; the image's build uses the same one.
NAME = "libraries"
PASSWORD = "library_index_password"  # noqa: S105  the name of a file


def variables(deployment: Deployment) -> dict[str, str]:
    """uv's settings, the password among them: for the environment of a process, never for a command line."""
    settings = deployment.settings()
    found = {"UV_DEFAULT_INDEX": settings["PACKAGE_INDEX"]} if settings.get("PACKAGE_INDEX") else {}
    if not settings.get("LIBRARY_INDEX"):
        return found
    path = deployment.secrets() / PASSWORD
    try:
        password = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise StackError(
            f"{path} cannot be read: {error.strerror}",
            f"the password of {settings.get('LIBRARY_INDEX_USER')} at {settings['LIBRARY_INDEX']}",
            "write it there, or clear LIBRARY_INDEX in .env",
        ) from error
    return {
        **found,
        "UV_INDEX": f"{NAME}={settings['LIBRARY_INDEX']}",
        f"UV_INDEX_{NAME.upper()}_USERNAME": settings.get("LIBRARY_INDEX_USER", ""),
        f"UV_INDEX_{NAME.upper()}_PASSWORD": password,
    }
