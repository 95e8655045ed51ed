"""The service's log: a line for people or for programs, and no more of them than somebody can read."""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from datetime import datetime, timezone
from typing import Any

ACCESS = "recbole_mind.access"
FORMATS = ("text", "json")
EXTRA = ("request", "bundle", "method", "path", "status", "ms", "channel", "assigned")  # of a line about a request
SELDOM = 60.0  # seconds between two lines of a kind that anybody can cause


def start(form: str, access: bool) -> None:
    """Have the process log to standard error, in one of :data:`FORMATS`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Json() if form == "json" else logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("recbole_mind").setLevel(logging.INFO)
    logging.getLogger(ACCESS).setLevel(logging.INFO if access else logging.WARNING)
    logging.getLogger("uvicorn.error").addFilter(Seldom())


class Json(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        content: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        content |= {name: getattr(record, name) for name in EXTRA if hasattr(record, name)}
        if record.exc_info:
            content["exception"] = self.formatException(record.exc_info)
        return json.dumps(content)


class Seldom(logging.Filter):
    """Lets each message pass once a minute, and says how many were left out since.

    It is meant for what a client can cause at will: a line for each would fill the disk.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._last: dict[str, float] = {}
        self._left_out: dict[str, int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return True
        kind, now = str(record.msg), time.monotonic()
        with self._lock:
            if now - self._last.get(kind, -SELDOM) < SELDOM:
                self._left_out[kind] = self._left_out.get(kind, 0) + 1
                return False
            self._last[kind] = now
            many = self._left_out.pop(kind, 0)
        if many:
            record.msg = f"{record.msg} ({many} more in the last minute)"
        return True
