"""What the tests of the service ask it."""

import socket

from tests.support.waiting import HANG

HISTORY = ["i1", "i3", "i5", "i8", "i9", "i11", "i14", "i15"]
KEY = "a-key-of-our-own"


def raw(served, content):
    """What comes back on a connection of one's own."""
    with socket.create_connection(("127.0.0.1", served.port), timeout=HANG) as connection:
        connection.sendall(content)
        return rest_of(connection)


def rest_of(connection):
    """What comes until the other side is done."""
    parts = []
    while part := connection.recv(2**16):
        parts.append(part)
    return b"".join(parts)


HEAD = b"POST /recall HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n"


def as_answer(found, bundle, names=None):
    lists = [{"items": each.items, "scores": each.scores, "names": None} for each in found.by_interest]
    return found._asdict() | {
        "unknown_profile": list(found.unknown_profile),
        "by_interest": lists or None,
        "names": names,
        "bundle": bundle,
    }
