import pytest

from weighbridge.core.digest import Digest
from weighbridge.core.finding import Verdict
from weighbridge.core.manifest import FileEntry, Manifest
from weighbridge.scanner.engine import scan_files
from world_house import safetensors


def scan(name, data):
    import io

    manifest = Manifest.of([FileEntry(name, len(data), Digest.of(data))])
    return scan_files("m", manifest, lambda _entry: io.BytesIO(data))


@pytest.mark.parametrize("data", [b"", b"\x08", b"<html>404</html>", b"\x80\x02}.", b"\x00" * 7])
def test_a_name_that_promises_another_content_is_broken(data):
    for name in ("model.safetensors", "sub/MODEL.SAFETENSORS", "a.npy", "b.npz", "c.h5", "d.keras", "e.gguf"):
        report = scan(name, data)
        assert "file-suffix" in {finding.rule for finding in report.findings}, name
        assert report.verdict.rank >= Verdict.BROKEN.rank


def test_a_kept_promise_and_a_name_without_one_pass():
    data = safetensors({"w": [1.0]})
    assert scan("model.safetensors", data).verdict is Verdict.CLEAN
    assert scan("weights.bin", data).verdict is Verdict.CLEAN
    assert scan("empty.bin", b"").verdict is Verdict.CLEAN
