"""UBJSON: a model of XGBoost passes, lies about lengths are broken, other objects are unlisted."""

import struct
import sys
from pathlib import Path

import pytest

from weighbridge.scanner.engine import scan_one
from weighbridge.scanner.file import from_bytes

sys.path.insert(0, str(Path(__file__).parent.parent / "fuzz"))
from seeds_graphs import catboost, ubj_text, ubjson


def found(data):
    part = scan_one(from_bytes("model.ubj", data, "unknown"))
    return {(finding.rule, finding.subject) for finding in part.findings}


def test_a_model_passes():
    assert found(ubjson()) == set()


@pytest.mark.parametrize(
    ("check", "data"),
    [
        ("trailing", ubjson(after=b"x")),
        ("truncated", ubjson()[:-3]),
        ("duplicate", ubjson(inner=ubj_text("n") + b"i\1")),
        ("type", ubjson(inner=ubj_text("x") + b"q")),
        ("type", ubjson(inner=ubj_text("x") + b"[$di")),
        ("length", ubjson(inner=b"L" + struct.pack(">q", -1))),
        ("length", ubjson(inner=b"d")),
        ("bracket", ubjson(inner=b"]")),
        ("truncated", ubjson(inner=ubj_text("x") + b"[$d#L" + struct.pack(">q", 1 << 60))),
        ("truncated", ubjson(inner=ubj_text("x") + b"[#L" + struct.pack(">q", 1 << 60))),
        ("truncated", ubjson(inner=ubj_text("x") + b"SL" + struct.pack(">q", 1 << 60))),
        ("key", ubjson(inner=b"L" + struct.pack(">q", 100_000))),
        ("nesting", ubjson(inner=ubj_text("x") + b"[" * 500)),
    ],
)
def test_a_lie_is_broken(check, data):
    assert found(data) == {("boosting-broken", f"ubjson.{check}")}


def test_other_objects_are_unlisted():
    assert found(b"{" + ubj_text("run") + b"S" + ubj_text("\0\1") + b"}") == {("boosting-unlisted", "keys")}
    assert found(b"{}\0\0")


def test_a_catboost_model_passes():
    assert found(catboost()) == set()
    assert found(catboost(tables=2)) == set()


@pytest.mark.parametrize(
    ("rule", "data"),
    [
        ("boosting-unread", catboost(after=b"x")),
        ("boosting-broken", catboost(tables=1, after=b"x")),
        ("boosting-broken", catboost(tables=1)[:-1]),
        ("boosting-broken", catboost()[:-1]),
        ("boosting-broken", catboost(version="Other")),
        ("boosting-broken", catboost()[:9] + b"\xff" + catboost()[10:]),
        ("boosting-unread", catboost(extra={30: "x"})),
    ],
)
def test_a_catboost_model_that_lies_does_not(rule, data):
    assert rule in {name for name, _ in found(data)}
