"""A binary runs only while it was made of exactly the source that is here."""

import sys
import types

import pytest

from weighbridge.formats import pickle_build, pickle_machine

BUILT = "weighbridge.formats.compiled.built"
TWIN = "weighbridge.formats.compiled.pickle_machine"


@pytest.fixture
def fresh(monkeypatch):
    """Choose anew in each test, and as if no binary was there."""
    pickle_build.chosen.cache_clear()
    monkeypatch.delenv("WEIGHBRIDGE_PURE", raising=False)
    monkeypatch.setitem(sys.modules, BUILT, None)
    yield monkeypatch
    pickle_build.chosen.cache_clear()


def place(monkeypatch, digest):
    built, twin = types.ModuleType(BUILT), types.ModuleType(TWIN)
    built.SOURCES = digest
    monkeypatch.setitem(sys.modules, BUILT, built)
    monkeypatch.setitem(sys.modules, TWIN, twin)
    return twin


def here():
    return pickle_build.source_digest(pickle_build.Path(pickle_build.__file__).parent)


def test_a_binary_of_this_source_runs(fresh):
    twin = place(fresh, here())
    assert pickle_build.machine() is twin
    assert pickle_build.compiled()
    assert pickle_build.chosen()[1] == "compiled"


def test_a_binary_of_other_source_never_runs(fresh):
    place(fresh, "0" * 64)
    assert pickle_build.machine() is pickle_machine
    assert not pickle_build.compiled()
    assert "older than its source" in pickle_build.chosen()[1]


def test_plain_python_can_be_asked_for(fresh):
    place(fresh, here())
    fresh.setenv("WEIGHBRIDGE_PURE", "1")
    assert pickle_build.machine() is pickle_machine
    assert "WEIGHBRIDGE_PURE" in pickle_build.chosen()[1]


def test_without_a_binary_the_machine_is_plain_python(fresh):
    assert pickle_build.machine() is pickle_machine
    assert "no binary" in pickle_build.chosen()[1]


@pytest.mark.parametrize("name", pickle_build.SOURCES)
def test_each_source_counts(name, tmp_path):
    folder = pickle_build.Path(pickle_build.__file__).parent
    for source in pickle_build.SOURCES:
        (tmp_path / f"{source}.py").write_bytes((folder / f"{source}.py").read_bytes())
    assert pickle_build.source_digest(tmp_path) == here()
    with (tmp_path / f"{name}.py").open("a") as file:
        file.write("#\n")
    assert pickle_build.source_digest(tmp_path) != here()
