"""Pictures, sounds and SentencePiece tokenizers beside a model: honest ones pass, what does not belong is broken."""

import sys
import zlib
from pathlib import Path

import pytest

from weighbridge.core.finding import Verdict
from weighbridge.scanner.engine import scan_one
from weighbridge.scanner.file import from_bytes

sys.path.insert(0, str(Path(__file__).parent.parent / "fuzz"))
from seeds_graphs import GIF, JPEG, WAV, media_seeds, pb, png, png_chunk, riff, sentencepiece


def found(data):
    part = scan_one(from_bytes("x.png", data, "unknown"))
    return {(finding.rule, finding.subject) for finding in part.findings}


@pytest.mark.parametrize("data", [*media_seeds(), JPEG + bytes(100), sentencepiece()])
def test_honest_files_pass(data):
    assert found(data) == set()


CASES = [
    ("png.trailing", png() + b"x"),
    ("png.trailing", png(packed=zlib.compress(b"\0abc" * 2) + b"x")),
    ("png.data", png(packed=zlib.compress(b"\0abc" * 3))),
    ("png.data", png(packed=zlib.compress(b"\0abc"))),
    ("png.data", png(packed=b"abc")),
    ("png.data", png(interlace=1)),
    ("png.header", png(interlace=2)),
    ("png.crc", png().replace(b"IDAT", b"IDAU")),
    ("png.order", png()[:8] + png_chunk(b"tEXt") + png()[8:]),
    ("png.order", png(extra=png()[8:33])),
    ("png.chunk", png(extra=b"\x7f\xff\xff\xfftEXt")),
    ("png.truncated", png()[:-12]),
    ("jpeg.trailing", JPEG + b"PK"),
    ("jpeg.trailing", JPEG + bytes(70_000)),
    ("jpeg.truncated", JPEG[:-2]),
    ("jpeg.truncated", JPEG[:4] + b"\xff\xff"),
    ("jpeg.marker", JPEG[:8] + b"ab" + JPEG[8:]),
    ("jpeg.scan", JPEG[:8] + b"\xff\xd9"),
    ("gif.trailing", GIF + b"x"),
    ("gif.truncated", GIF[:-2]),
    ("gif.block", GIF[:-1] + b"x;"),
    ("riff.trailing", WAV + b"xx"),
    ("riff.truncated", riff(b"WAVE", (b"data", b"ab"))[:-6] + b"\xff\0\0\0ab"),
    ("sentencepiece.text", sentencepiece((5, pb((1, "a\nb"))))),
    ("sentencepiece.wire", sentencepiece((1, pb((1, "x"), (2, "GraphDef"))))),
    ("sentencepiece.twice", sentencepiece((3, b""))),
]


@pytest.mark.parametrize(("check", "data"), CASES)
def test_what_does_not_belong_is_broken(check, data):
    part = scan_one(from_bytes("x", data, "unknown"))
    assert check in {finding.subject for finding in part.findings}
    assert Verdict.BROKEN in {finding.verdict for finding in part.findings}


def test_unknown_parts_are_unread():
    assert found(png(extra=png_chunk(b"evIl", b"x"))) == {("media-unread", "'evIl'")}
    assert found(riff(b"WAVE", (b"evil", b"abcd"))) == {("media-unread", "'evil'")}
    assert found(sentencepiece((99, "x"))) == {("tokenizer-unread", "ModelProto 99")}


def test_a_picture_with_an_archive_behind_it_is_broken(tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a", "b")
    rules = {rule for rule, _ in found(png() + (tmp_path / "a.zip").read_bytes())}
    assert {"media-broken", "archive-polyglot"} <= rules
