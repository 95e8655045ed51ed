"""Files written whole or not at all, and read only where they are files."""

import errno
import json
import os
from pathlib import Path

import pytest

from recbole_mind.errors import InputError
from recbole_mind.util import files


def test_a_file_is_written_whole_or_stays_as_it_was(tmp_path):
    path = tmp_path / "new" / "a.txt"
    files.write_atomic(path, "ä\n")
    assert path.read_bytes() == "ä\n".encode()

    def full(file):
        file.write(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(InputError, match=r"a\.txt' cannot be written: No space left on device"):
        files.write_atomic(path, full)
    assert path.read_bytes() == "ä\n".encode()
    assert os.listdir(path.parent) == ["a.txt"]  # and nothing of the half


def test_a_folder_that_is_a_file_cannot_be_written_into(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="cannot be written: "):
        files.write_atomic(tmp_path / "file" / "a.txt", b"")


def test_only_regular_files_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, number in (
        (tmp_path / "pipe", errno.EINVAL),
        (tmp_path, errno.EISDIR),
        (Path("/dev/zero"), errno.EINVAL),
    ):
        with pytest.raises(
            OSError, match=os.strerror(number) if number == errno.EISDIR else "it is not a file"
        ) as error:
            files.open_regular(path)
        assert error.value.errno == number
    (tmp_path / "a").write_bytes(b"12345")
    assert files.read_bytes(tmp_path / "a", 5) == b"12345"
    with pytest.raises(OSError, match="it is larger than"):
        files.read_bytes(tmp_path / "a", 4)
    # sha256 of 12345
    assert files.sha256(tmp_path / "a") == "5994471abb01112afcc18159f6cc74b4f511b99806da59b3caf5a9c173cacfc5"


def test_lines_may_come_from_windows(tmp_path):
    (tmp_path / "a").write_bytes(b"\xef\xbb\xbfone\r\ntwo\n\nthree")
    assert files.read_lines(tmp_path / "a", "names") == ["one", "two", "", "three"]
    (tmp_path / "a").write_bytes(b"\xff")
    for read in (files.read_lines, files.read_text):
        with pytest.raises(InputError, match=r"names '.*a' cannot be read: it is not UTF-8 text"):
            read(tmp_path / "a", "names")
        with pytest.raises(InputError, match=r"names '.*b' cannot be read: No such file"):
            read(tmp_path / "b", "names")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "index '.*' cannot be read: manifest.json: No such file"),
        ("{", "index '.*' is corrupt: manifest.json is not JSON"),
        ("[" * 100_000, "index '.*' is corrupt: manifest.json is not JSON"),
        ("[]", "is not the manifest of an index of recbole-mind"),
        ('{"format": "b", "version": 1}', "is not the manifest of an index of recbole-mind"),
        ('{"format": "a", "version": 2}', "has format version 2; this release reads version 1"),
    ],
)
def test_a_manifest_of_something_else_is_refused(tmp_path, text, message):
    if text is not None:
        (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(InputError, match=message) as error:
        files.read_manifest(tmp_path, "an index", "a", 1)
    assert "\n" not in str(error.value)
    (tmp_path / "manifest.json").write_text('{"format": "a", "version": 1, "n": 3}')
    assert files.read_manifest(tmp_path, "an index", "a", 1)["n"] == 3


def test_one_process_writes_into_a_folder_and_says_who_it_is(tmp_path):
    folder = tmp_path / "out"
    with files.alone_in(folder):
        assert json.loads((folder / ".lock.json").read_text())["pid"] == os.getpid()
        message = rf"another run is writing to '.*out' \(process {os.getpid()} on .*, since .*\); wait for it"
        with pytest.raises(InputError, match=message), files.alone_in(folder):
            pass
        (folder / ".lock.json").write_text("{")  # it is only a courtesy
        with pytest.raises(InputError, match=r"another run is writing to '.*out'; wait"), files.alone_in(folder):
            pass
    assert not (folder / ".lock.json").exists()
    with files.alone_in(folder):
        pass


def test_a_place_is_tried_without_making_it(tmp_path):
    files.check_place(tmp_path / "a" / "b")
    assert os.listdir(tmp_path) == []
    (tmp_path / "file").write_text("x")
    with pytest.raises(NotADirectoryError):
        files.check_place(tmp_path / "file" / "b")
