"""Runs in the sample source's environment: its HTTP API, on a socket that ./stack dev has opened."""

import os
import socket
import sys
from pathlib import Path

import uvicorn
from sample_source.api import create_app  # type: ignore[import-not-found]


def main(tables: str, listener: str) -> None:
    """Serve until told to end."""
    app = create_app(Path(tables), os.environ["SOURCE_API_TOKEN"])
    config = uvicorn.Config(app, log_level="warning", server_header=False)
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=int(listener))])


if __name__ == "__main__":
    main(*sys.argv[1:])
