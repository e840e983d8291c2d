"""The real data, extracted once, and the API served by a real server on a free port."""

import json
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from sample_source.api import create_app
from sample_source.tables import extract

TOKEN = "a-token-of-the-tests"


@dataclass
class Answer:
    """What the API answered."""

    status: int
    body: Any
    headers: Message


@dataclass
class Client:
    """A caller of the API, with the right token unless told otherwise."""

    address: str

    def get(self, path: str, authorization: str | None = f"Bearer {TOKEN}", method: str = "GET") -> Answer:
        headers = {} if authorization is None else {"Authorization": authorization}
        request = urllib.request.Request(self.address + path, headers=headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return Answer(answer.status, json.load(answer), answer.headers)
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, json.loads(error.read()), error.headers)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The five CSV files."""
    directory = tmp_path_factory.mktemp("data")
    extract(directory)
    return directory


@pytest.fixture(scope="session")
def api(data: Path) -> Iterator[Client]:
    """The API on a port of this machine."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(create_app(data, TOKEN), log_level="warning"))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started and thread.is_alive() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert server.started, "the API did not start"
    yield Client(f"http://127.0.0.1:{listener.getsockname()[1]}")
    server.should_exit = True
    thread.join(timeout=10)
    listener.close()
    assert not thread.is_alive(), "the API did not stop"
