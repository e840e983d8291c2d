"""Files that are written at once: whoever reads one, and whatever is interrupted, sees the old content or the new."""

import os
import tempfile
from pathlib import Path


def replace(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file aside and give it its name. It is on the disk when this returns; raises `OSError`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(handle)
        os.chmod(name, mode)
        if os.geteuid() == 0 and path.exists():
            # Who became root for one command is still to read the file afterwards.
            os.chown(name, path.stat().st_uid, path.stat().st_gid)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
