"""Secret keys in files: made whole, once, and for nobody else."""

import os
import threading

import pytest

from recbole_mind.errors import InputError
from recbole_mind.serving.key_file import read_or_make


def key(path):
    return read_or_make(path, "key", "all is lost")


def test_a_key_is_made_once(tmp_path):
    first = key(tmp_path / "key")
    assert len(first) == 32
    assert key(tmp_path / "key") == first != key(tmp_path / "other")
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600


def test_a_key_that_others_may_use_is_refused(tmp_path):
    key(tmp_path / "key")
    (tmp_path / "key").chmod(0o640)
    with pytest.raises(InputError, match="has the mode 0640"):
        key(tmp_path / "key")
    (tmp_path / "key").chmod(0o600)
    (tmp_path / "key").write_bytes(b"short")
    with pytest.raises(InputError, match=r"key: '.*' is not a key; remove it, and all is lost"):
        key(tmp_path / "key")
    with pytest.raises(InputError, match="cannot be used: No such file"):
        key(tmp_path / "nowhere/key")
    with pytest.raises(InputError, match="cannot be used: Is a directory"):
        key(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="cannot be used: it is not a file"):
        key(tmp_path / "pipe")


def test_a_key_is_there_whole_or_not_at_all(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(InputError, match="No space left"):
            key(tmp_path / "key")
    assert list(tmp_path.iterdir()) == []
    key(tmp_path / "key")
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_processes_that_start_at_once_have_one_key(tmp_path, monkeypatch):
    """Both find no file and make a key each; the one that is there first is everybody's."""
    both, real, found = threading.Barrier(2), os.link, []

    def link(*arguments):
        both.wait(60)
        real(*arguments)

    monkeypatch.setattr(os, "link", link)
    threads = [threading.Thread(target=lambda: found.append(key(tmp_path / "key"))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2
    assert found[0] == found[1] == (tmp_path / "key").read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["key"]
