"""A refusal of the service."""

from __future__ import annotations

import json


class Refused(Exception):  # noqa: N818 - an answer
    """A request that is not answered as it wished: the status, a word for programs, a sentence for people."""

    def __init__(self, status: int, kind: str, message: str, field: str | None = None, **headers: str) -> None:
        super().__init__(kind)
        self.status, self.kind, self.message, self.field = status, kind, message, field
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}

    def body(self) -> bytes:
        """A :class:`~recbole_mind.serving.http.schema.Refusal`."""
        error = {"type": self.kind, "message": self.message, "field": self.field}
        return json.dumps({"error": error}).encode()
