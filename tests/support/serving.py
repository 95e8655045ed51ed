"""A service that listens on this machine, and what asks it."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
from dataclasses import dataclass, field
from typing import Any

from recbole_mind.serving.http.app import create_app
from recbole_mind.serving.http.schema import limits
from recbole_mind.serving.http.server import Server, open_door
from recbole_mind.serving.http.settings import Settings
from tests.support.waiting import HANG, until

JSON = {"Content-Type": "application/json"}


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> tuple[int, str, str | None]:
        """Status, type and field of a refusal, which has nothing else."""
        content = self.json
        assert set(content) == {"error"}
        assert set(content["error"]) == {"type", "message", "field"}
        assert isinstance(content["error"]["message"], str)
        return self.status, content["error"]["type"], content["error"]["field"]


@dataclass
class Running:
    """A service, one connection a thread to it, and how many requests had to be sent again."""

    port: int
    service: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    resent: int = 0
    _local: threading.local = field(default_factory=threading.local)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        """Send a request; a body that is not bytes is sent as JSON."""
        given = self.headers | (headers or {})
        if body is not None and not isinstance(body, bytes):
            body, given = json.dumps(body).encode(), JSON | given
        for fresh in (False, True):
            connection = getattr(self._local, "connection", None)
            if connection is None or fresh:
                connection = self._local.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=HANG)
            try:
                connection.request(method, path, body, given)
                response = connection.getresponse()
                content = response.read()
                break
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                connection.close()  # one that was kept open, and was closed while idle
                if fresh:
                    raise
                self.resent += 1
        if response.will_close:
            connection.close()
            self._local.connection = None
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, content)

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, headers=headers)

    def post(self, path: str, body: Any, **headers: str) -> Answer:
        return self.ask("POST", path, body, headers)

    def figure(self, name: str) -> float:
        """A figure of /metrics; 0 where there is none."""
        for line in self.get("/metrics").body.decode().splitlines():
            if line.rpartition(" ")[0] == name:
                return float(line.rpartition(" ")[2])
        return 0.0


@contextlib.contextmanager
def running(folder: Any, given: dict[str, Any] | None = None, **settings: Any) -> Any:
    """A service of ``folder``, on a port of this machine."""
    app = create_app(Settings(folder, limits({"poll_seconds": 0.05} | (given or {})), **settings))
    server, door = Server(app), open_door("127.0.0.1", 0)
    thread = threading.Thread(target=server.run, args=([door],), daemon=True)
    thread.start()
    try:
        until(lambda: server.started or not thread.is_alive())
        yield Running(door.getsockname()[1], app.state.service)
    finally:
        server.should_exit = True
        thread.join(HANG)
        assert not thread.is_alive()
