"""Whatever is signed and whatever is there: they pass if and only if they are the same files under the same names."""

import hashlib
import io

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.claims.predicates import package
from weighbridge.core.digest import Digest
from weighbridge.core.errors import BadManifest, VerificationFailed
from weighbridge.core.manifest import ChunkTable, FileChunks, FileEntry, Manifest
from weighbridge.gate.coverage import Allowed, Present, compare
from weighbridge.source.tree import TreeFile
from weighbridge.trust.oms import Resource, Serialization, model_signature


class Memory:
    """A tree of files in memory."""

    def __init__(self, files):
        self._files = files

    def files(self):
        return [
            TreeFile(name, len(data), lambda d=data: io.BytesIO(d))
            for name, data in sorted(self._files.items())
        ]

    def settle(self):
        pass


def listed(files, size=0):
    rows = []
    for name, data in files.items():
        if not size:
            rows.append(Resource(name, hashlib.sha256(data).hexdigest()))
        for start in range(0, len(data), size) if size else ():
            part = data[start : start + size]
            rows.append(Resource(name, hashlib.sha256(part).hexdigest(), start, start + len(part)))
    how = Serialization("shards" if size else "files", "sha256", size, False, (".git", "notes"))
    return model_signature("m", how, rows)


def claimed(files):
    entries = [FileEntry(name, len(data), Digest.of(data)) for name, data in files.items()]
    chunks = [
        FileChunks(name, "", (blake3(data).hexdigest(),) if data else ()) for name, data in files.items()
    ]
    return package(Manifest.of(entries), ChunkTable(tuple(chunks)), builder="https://b", invocation="1")


STATEMENTS = {
    "files": listed,
    "shards": lambda files: listed(files, 2),
    "chunks": claimed,
    "sha256": claimed,
}
NAMES = st.sampled_from(["a", "b", "B.bin", "sub/a", "sub/b", "sub.b", ".git/x", "notes", "e"])
FILES = st.dictionaries(NAMES, st.sampled_from([b"", b"x", b"y", b"xy", b"yx", b"xyx", b"xyxy"]), max_size=5)


def verdict(kind, statement, found, **options):
    present = Present(Memory(found), single=False, thorough=kind == "sha256", **options)
    try:
        return compare(present, statement)
    except VerificationFailed as error:
        if error.check != "bytes.match":
            raise
        return None


@pytest.mark.parametrize("kind", STATEMENTS)
@given(FILES, FILES)
def test_the_same_files_and_no_others(kind, signed, found):
    ours = kind in ("chunks", "sha256")
    signed = {name: data for name, data in signed.items() if not ours or not name.startswith(".git/")}
    if kind == "shards":
        signed = {name: data for name, data in signed.items() if data}
    try:
        statement = STATEMENTS[kind](signed)
    except (VerificationFailed, BadManifest, ValueError):
        assert not signed or {"b", "B.bin"} <= set(signed)
        return
    counted = {name: data for name, data in found.items() if not ours or not name.startswith(".git/")}
    covered = verdict(kind, statement, found)
    assert (covered is not None) == (counted == signed)
    if covered is not None:
        assert (covered.files, covered.size) == (len(signed), sum(map(len, signed.values())))
        assert sum(row.files for row in covered.left_out) == len(found) - len(signed)


@given(FILES, FILES)
def test_exceptions_of_the_signer_count_only_when_allowed_and_never_for_what_is_signed(signed, found):
    if not signed:
        return
    covered = verdict("files", listed(signed), found, allowed=Allowed(ignored=True))
    strangers = {name for name in found if name not in signed}
    excused = {name for name in strangers if name.startswith(".git/") or name == "notes"}
    rest = {name: data for name, data in found.items() if name not in excused}
    assert (covered is not None) == (rest == signed)
    if covered is not None:
        assert sum(row.files for row in covered.left_out) == len(excused)


@given(FILES, FILES, st.sets(NAMES, max_size=3))
def test_what_the_caller_allows_is_all_that_passes_unsigned(signed, found, allowed):
    if not signed:
        return
    covered = verdict("files", listed(signed), found, allowed=Allowed(unsigned=tuple(allowed)))
    rest = {name: data for name, data in found.items() if name in signed or name not in allowed}
    assert (covered is not None) == (rest == signed)


def test_a_table_of_chunks_that_is_of_other_bytes_is_the_signers_word():
    """Both digests are signed together; which one was compared is said."""
    files = {"a": b"x"}
    manifest = Manifest.of([FileEntry("a", 1, Digest.of(b"x"))])
    other = ChunkTable((FileChunks("a", "", (blake3(b"y").hexdigest(),)),))
    statement = package(manifest, other, builder="https://b", invocation="1")
    assert verdict("chunks", statement, files) is None
    assert "blake3" in verdict("chunks", statement, {"a": b"y"}).compared
    assert "sha256" in verdict("sha256", statement, files).compared
    assert verdict("sha256", statement, {"a": b"y"}) is None
