"""What is read whole is a plain file of a bounded size; nothing waits for a pipe."""

import os

import pytest

from weighbridge.store.plain import read_plain


def test_a_file_is_read_whole_through_links(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert read_plain(tmp_path / "b", 5) == b"12345"


@pytest.mark.timeout(10)
def test_nothing_else_is_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "long").write_bytes(b"123456")
    for name, words in (
        ("pipe", "plain file"),
        ("long", "more than 5"),
        (".", "directory|plain"),
        ("none", "No such file"),
    ):
        with pytest.raises(OSError, match=words):
            read_plain(tmp_path / name, 5)
    with pytest.raises(OSError, match="plain file"):
        read_plain(type(tmp_path)("/dev/zero"), 5)
