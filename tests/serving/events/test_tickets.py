"""Ids of answers: what they say, and that nobody else can make one."""

import base64
import json
import time

import pytest

from recbole_mind.errors import InputError
from recbole_mind.serving.events.tickets import Tickets


def test_an_id_says_what_it_was_given(tmp_path):
    tickets = Tickets(tmp_path)
    one, two = (tickets.issue("mind", "0123456789ab", 'ü"1') for _ in range(2))
    assert one != two
    found = tickets.read(one)
    assert found[2:] == ("mind", "0123456789ab", 'ü"1', "")
    assert abs(found.issued - time.time()) < 60
    assert Tickets(tmp_path).read(two)[2:] == found[2:]  # after a restart
    alone = tickets.read(tickets.issue("mind", "b", None))
    assert alone.user == alone.nonce
    assert tickets.read(tickets.issue("mind", "b", "u", "ytdnn"))[2:] == ("mind", "b", "u", "ytdnn")


def test_ids_of_others_are_none(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    tickets, others = Tickets(tmp_path / "a"), Tickets(tmp_path / "b")
    given = tickets.issue("mind", "b", "u1")
    assert others.read(given) is None
    body, mac = given.split(".")
    forged = base64.urlsafe_b64encode(json.dumps(["0", "mind", "b", "u2"]).encode()).decode()
    for text in ("", ".", "x", body, f"{body}.", f"{forged}.{mac}", f"{given}x", f"{given}é", given[1:], f".{mac}"):
        assert tickets.read(text) is None
    assert tickets.read(given) is not None


def test_the_key_lies_beside_the_events(tmp_path):
    Tickets(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".key"]
    (tmp_path / ".key").write_bytes(b"short")
    with pytest.raises(InputError, match=r"events: '.*' is not a key; remove it, and ids that were given out end"):
        Tickets(tmp_path)


def test_an_id_of_a_long_user_is_not_much_longer(tmp_path):
    for user in ("u" * 256, "é" * 256, "\U0001f600" * 256):
        assert len(Tickets(tmp_path).issue("c" * 32, "b" * 12, user, "d" * 32)) <= 200 + 8 * 256
