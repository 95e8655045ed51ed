"""The small data set: what it promises to the tests that use it."""

import numpy as np

from recbole_mind.testing.small_data import write_small


def test_users_stay_in_their_half_and_float32_cannot_tell_their_times_apart(tmp_path):
    rows = (write_small(tmp_path, users=6, items=20) / "small/small.inter").read_text().splitlines()
    assert rows[0] == "user_id:token\titem_id:token\ttimestamp:float"
    cells = [row.split("\t") for row in rows[1:]]
    assert {user for user, _, _ in cells} == {f"u{number}" for number in range(6)}
    assert all((int(user[1:]) + int(item[1:])) % 2 == 1 for user, item, _ in cells)
    times = np.array([float(time) for _, _, time in cells])
    assert len(set(times)) == len(times)
    assert len(set(times.astype(np.float32))) < len(times)
    assert list(times) != sorted(times)
    again = write_small(tmp_path / "again", users=6, items=20) / "small/small.inter"
    assert again.read_text().splitlines() == rows
