"""Files that are read again while the service runs."""

import os

import pytest

from recbole_mind.errors import InputError
from recbole_mind.serving.http.followed_file import FollowedFile, stamp_of


def read(path):
    try:
        text = path.read_text()
    except OSError as error:
        raise InputError(f"'{path}' cannot be read") from error
    if text == "bad":
        raise InputError("it is bad")
    return text


@pytest.fixture
def followed(tmp_path):
    (tmp_path / "file").write_text("one")
    return FollowedFile(tmp_path / "file", read)


def write(followed, text):
    """Put another file in the place, as editors do: its stamp is another one whatever the clock says."""
    new = followed.path.with_name("new")
    new.write_text(text)
    os.replace(new, followed.path)


def test_a_file_is_read_once_it_rests(followed):
    assert not followed.look()
    write(followed, "two")
    assert not followed.look()  # somebody may still be writing it
    write(followed, "three")
    assert not followed.look()
    assert followed.content == "one"
    assert followed.look()
    assert followed.content == "three"
    assert not followed.look()


def test_a_file_that_cannot_be_used_is_said_once(followed):
    write(followed, "bad")
    assert not followed.look()
    with pytest.raises(InputError, match="it is bad"):
        followed.look()
    assert not followed.look()
    followed.path.unlink()
    assert stamp_of(followed.path) is None
    assert not followed.look()
    with pytest.raises(InputError, match="cannot be read"):
        followed.look()
    assert not followed.look()
    assert followed.content == "one"


def test_a_file_is_read_again_when_told(followed):
    stamp = followed.path.stat()
    followed.path.write_text("two"[::-1])
    os.utime(followed.path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # nothing shows that it was changed
    assert not followed.look()
    followed.forget()
    assert followed.look()
    assert followed.content == "owt"
    assert not followed.look()


def test_a_change_that_was_taken_back_is_none(followed):
    stamp = followed.path.stat()
    followed.path.write_text("four")
    assert not followed.look()
    followed.path.write_text("one")
    os.utime(followed.path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert not followed.look()
    followed.path.write_text("four")
    assert not followed.look()  # it is to rest again
    assert followed.look()
