"""What is seen of a dataset without running anything in it; and what cannot be counted is unknown, never guessed."""

import hashlib
import json
import os
import struct
from io import BytesIO

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from weighbridge.core.errors import BadManifest, CannotTell, OutOfBudget, Unreadable, VerificationFailed
from weighbridge.core.manifest import Manifest
from weighbridge.formats import arrow_stream, parquet
from weighbridge.source import datasets
from weighbridge.source.datasets import Layout, Split, _lines, _split_of, read_dataset
from weighbridge.source.local import open_folder
from weighbridge.source.read import read_tree

# A Parquet footer and an Arrow stream, written by hand from their specifications.


def varint(number):
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def zigzag(number):
    return varint((number << 1) ^ (number >> 63) if number >= 0 else ((-number) << 1) - 1)


def footer(rows, groups, *, extra=b"", tail=b""):
    """FileMetaData: 1 version, 2 schema (one root), 3 num_rows, 4 row_groups."""
    schema = b"\x19\x1c\x48\x04root\x15\x02\x00"  # list of one struct: 4 name, 5 num_children
    body = b"\x15\x02" + schema + b"\x16" + zigzag(rows)
    body += b"\x19" + bytes([len(groups) << 4 | 12])
    for count in groups:  # RowGroup: 1 columns (none), 2 total_byte_size, 3 num_rows
        body += b"\x19\x0c" + b"\x16\x00" + b"\x16" + zigzag(count) + b"\x00"
    return body + extra + b"\x00" + tail


def parquet_file(meta, *, head=b"PAR1", end=b"PAR1", length=None):
    return head + b"columns" + meta + struct.pack("<I", len(meta) if length is None else length) + end


def message(kind, rows=0, body=0):
    """A Message table: 1 header_type, 2 header, 3 bodyLength; RecordBatch: 0 length."""
    header_vtable = struct.pack("<HHH", 6, 12, 4) + b"\0\0"
    vtable = struct.pack("<HHHHHH", 12, 20, 0, 4, 8, 12)
    table_at = 4 + len(vtable)
    batch_vtable_at = table_at + 20
    batch_at = batch_vtable_at + len(header_vtable)
    data = struct.pack("<I", table_at) + vtable
    data += struct.pack("<iB3xI", len(vtable), kind, batch_at - (table_at + 8)) + struct.pack("<q", body)
    data += header_vtable + struct.pack("<i", batch_at - batch_vtable_at) + struct.pack("<q", rows)
    data += b"\0" * (-len(data) % 8)
    return b"\xff\xff\xff\xff" + struct.pack("<i", len(data)) + data + b"\0" * body


END = b"\xff\xff\xff\xff\0\0\0\0"


def count(data):
    return arrow_stream.count_rows(BytesIO(data), len(data))


def rows_of(data):
    return parquet.read_footer(BytesIO(data), len(data)).rows


def test_rows_of_a_footer():
    assert rows_of(parquet_file(footer(7, [3, 4]))) == 7
    assert rows_of(parquet_file(footer(0, []))) == 0


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (parquet_file(footer(7, [3, 3])), "says 7 rows, and its groups 6"),
        (parquet_file(footer(-1, [-1])), "rows"),
        (parquet_file(footer(7, [8, -1])), "rows"),
        (parquet_file(footer(7, [7]), head=b"PARX"), "PAR1"),
        (parquet_file(footer(7, [7]), end=b"PARE"), "encrypted"),
        (parquet_file(footer(7, [7]), length=1 << 31), "longer than the file"),
        (parquet_file(footer(7, [7]), length=3), ""),
        (parquet_file(footer(7, [7], tail=b"more")), "follow"),
        (parquet_file(b"\x00"), "how many rows"),
        (parquet_file(b"\x19\xfc\xff\xff\xff\xff\x0f"), "longer than the footer"),
        (parquet_file(b"\x1d\x00"), ""),
        (parquet_file(b"\x1f\x00"), "unknown type"),
        (parquet_file(b"\x1c" * 200), "nested deeper"),
        (parquet_file(b"\x16" + b"\xff" * 12), "does not end"),
        (b"PAR1PAR1", "8 bytes"),
        (b"", "0 bytes"),
    ],
)
def test_footers_that_contradict_themselves_are_refused(data, cause):
    with pytest.raises(Unreadable) as refused:
        rows_of(data)
    assert refused.value.check == "dataset.parquet"
    assert cause in refused.value.cause


def test_a_footer_that_is_too_much_work_is_refused(monkeypatch):
    monkeypatch.setattr(parquet, "MAX_PARTS", 20)
    with pytest.raises(OutOfBudget):
        rows_of(parquet_file(footer(100, [1] * 13 + [87])))
    monkeypatch.setattr(parquet, "MAX_FOOTER", 4)
    with pytest.raises(OutOfBudget):
        rows_of(parquet_file(footer(7, [7])))


def test_rows_of_a_stream_and_of_a_file():
    stream = message(1) + message(3, 5, 64) + message(2, 9) + message(3, 6, 8)
    assert count(stream + END) == 11
    assert count(stream) == 11  # a stream may simply end
    assert count(b"ARROW1\0\0" + stream + END + b"footer ARROW1") == 11
    assert count(message(1) + END) == 0


@pytest.mark.parametrize(
    "data",
    [
        b"", END, message(3, 5), message(1) + b"\xff\xff\xff\xff", message(1) + b"\xff\xff\xff\xff\xff\xff\xff\x7f",
        message(1)[:-4], message(1) + message(3, 5, 64)[:-1], b"\xff\xff\xff\xff\x08\0\0\0" + b"\xff" * 8,
        message(1) + message(3, -1), b"\xff\xff\xff\xff\x04\0\0\0" + b"\0" * 4, b"ARROW1\0\0",
    ],
)  # fmt: skip
def test_streams_that_are_cut_or_forged_are_refused(data):
    with pytest.raises(Unreadable) as refused:
        count(data)
    assert refused.value.check == "dataset.arrow"


@given(st.binary(max_size=200))
def test_any_bytes_are_counted_or_refused(data):
    for read in (rows_of, count, lambda d: rows_of(parquet_file(d)), lambda d: count(message(1) + d)):
        try:
            assert read(data) >= 0
        except CannotTell:
            continue


# Lines.


@example([b"\n", b"\n", b"a"])
@example([b"a\n", b" \n", b"b"])
@given(st.lists(st.sampled_from([b"a", b"\n", b" ", b"\r\n", b"\t", b'{"x":1}\n', b"\n\n"]), max_size=30))
def test_lines_are_counted_as_a_reader_would(parts):
    text = b"".join(parts)
    expected = sum(1 for line in text.split(b"\n") if line.strip())
    assert _lines(BytesIO(text)) == expected


@pytest.mark.parametrize("block", [1, 2, 3, 7])
def test_wherever_a_block_ends(block, monkeypatch):
    monkeypatch.setattr(datasets, "BLOCK", block)
    text = b'\n\n{"a": 1}\n \n\r\n{"b": 2}\n\n\n{"c": 3}'
    assert _lines(BytesIO(text)) == 3


# Layouts.


def folder(root, **files):
    for name, data in files.items():
        path = root / name.replace("__", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return root


def seen(root):
    with open_folder(root) as tree:
        return read_dataset(tree)


def test_its_identity_is_that_of_any_tree(tmp_path):
    root = folder(tmp_path, **{"data/train__csv": "a\n1\n", "README__md": "x", "sub/empty__txt": ""})
    with open_folder(root) as tree:
        assert seen(root).manifest == read_tree(tree).manifest
    assert isinstance(seen(root).manifest, Manifest)


@pytest.mark.parametrize(
    ("files", "layout", "rows"),
    [
        ({"data/train-00000-of-00001__parquet": parquet_file(footer(7, [7]))}, Layout.PARQUET, 7),
        ({"a__jsonl": "{}\n{}\n", "b__jsonl": "{}"}, Layout.JSONL, 3),
        ({"a__jsonl__gz": b"\x1f\x8b"}, Layout.JSONL, None),
        ({"a__csv": "x\n1\n"}, Layout.CSV, None),
        ({"a__json": "[]"}, Layout.JSON, None),
        ({"a__txt": "x\n"}, Layout.TEXT, None),
        ({"shard-0000__tar": "x"}, Layout.WEBDATASET, None),
        ({"a__parquet": parquet_file(footer(7, [7])), "b__csv": "x"}, Layout.MIXED, None),
        ({"a__parquet": parquet_file(footer(7, [7])), "info__json": "{}", "n__txt": "x"}, Layout.PARQUET, 7),
        ({"img/0__png": b"\x89PNG"}, Layout.FILES, None),
        ({"data-00000-of-00001__arrow": message(1) + message(3, 4), "state__json": "{}"}, Layout.ARROW, 4),
        ({"dataset_dict__json": "{}", "train/data-0__arrow": message(1) + message(3, 4),
          "test/data-0__arrow": message(1) + message(3, 1), "train/state__json": "{}"}, Layout.ARROW_DICT, 5),
    ],
    ids=lambda value: value.value if isinstance(value, Layout) else "",
)  # fmt: skip
def test_layouts_and_rows(tmp_path, files, layout, rows):
    facts = seen(folder(tmp_path, **files)).facts
    assert (facts.layout, facts.rows, facts.files) == (layout, rows, len(files))


def test_what_cannot_be_counted_makes_the_sum_unknown_and_is_named(tmp_path):
    root = folder(
        tmp_path, **{"train/a__parquet": parquet_file(footer(7, [7])), "test/b__parquet": b"damaged"}
    )
    facts = seen(root).facts
    assert facts.rows is None
    assert facts.splits == {"train": Split(1, 7), "test": Split(1, None)}
    assert facts.uncounted == ("test/b.parquet",)


def test_code_is_named_and_not_run(tmp_path):
    trap = f"open({str(tmp_path / 'ran')!r}, 'w')"
    root = folder(tmp_path / "d", d__py=trap, a__jsonl="{}", x__pkl=b"\x80\x04.", n__ipynb="{}")
    assert seen(root).facts.code == ("d.py", "n.ipynb", "x.pkl")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("data/train-00000-of-00002.parquet", "train"),
        ("data/val-00000-of-00002.parquet", "validation"),
        ("data/my_split-00000-of-00001.parquet", "my_split"),
        ("data-00000-of-00003.arrow", ""),
        ("test/0001.jsonl", "test"),
        ("train/test.jsonl", "test"),
        ("dev.csv", "validation"),
        ("training_data.csv", "train"),
        ("trainer.csv", ""),
        ("contest.csv", ""),
        ("a/b.csv", ""),
    ],
)
def test_splits_by_name(path, split):
    assert _split_of(path) == split


@pytest.mark.parametrize("make", [os.mkfifo, lambda p: p.symlink_to("/dev/zero")])
def test_what_is_no_file_is_refused(tmp_path, make):
    folder(tmp_path, a__jsonl="{}")
    make(tmp_path / "b.jsonl")
    with pytest.raises(BadManifest):
        seen(tmp_path)


def test_a_file_of_a_cache_must_be_what_its_name_says(tmp_path):
    cache = tmp_path / "datasets--org--rows"
    blob = cache / "blobs" / hashlib.sha256(b"other").hexdigest()
    blob.parent.mkdir(parents=True)
    blob.write_bytes(b"{}\n")
    snapshot = cache / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "a.jsonl").symlink_to(f"../../blobs/{blob.name}")
    with pytest.raises(VerificationFailed) as refused:
        seen(snapshot)
    assert refused.value.check == "source.announced"
    good = cache / "blobs" / hashlib.sha256(b"{}\n").hexdigest()
    blob.rename(good)
    (snapshot / "a.jsonl").unlink()
    (snapshot / "a.jsonl").symlink_to(f"../../blobs/{good.name}")
    assert seen(snapshot).facts.rows == 1
    assert seen(cache).facts.rows == 1  # the whole folder of the repository means its one revision


def test_facts_are_json(tmp_path):
    root = folder(tmp_path, train__jsonl="{}\n")
    assert json.loads(json.dumps(seen(root).to_json()))["splits"] == {"train": {"files": 1, "rows": 1}}
