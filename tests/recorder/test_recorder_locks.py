"""Locks are found, hashed, read for their pins, and held against what is installed."""

import pytest

from weighbridge.core.digest import Digest
from weighbridge.core.errors import NotFound, UsageError
from weighbridge.recorder.environment import Distribution, distributions, frameworks, hardware
from weighbridge.recorder.locks import find_lock, read_lock
from world_recorder import record_of, said, train

HASHED = "numpy==2.0.1 \\\n    --hash=sha256:00\nTyping_Extensions[x]==4.1 ; python_version > '3' --hash=sha256:11\n"
UV = """
version = 1
[[package]]
name = "numpy"
version = "2.0.1"
source = { registry = "https://index.example/simple" }
wheels = [{ url = "https://index.example/n.whl", hash = "sha256:00" }]
[[package]]
name = "mine"
version = "0.1"
source = { editable = "." }
"""
PYLOCK = """
lock-version = "1.0"
[[packages]]
name = "numpy"
version = "2.0.1"
wheels = [{ name = "n.whl", hashes = { sha256 = "00" } }]
"""
POETRY = '[[package]]\nname = "numpy"\nversion = "2.0.1"\nfiles = [{ file = "n.whl", hash = "sha256:00" }]\n'


@pytest.mark.parametrize(
    ("name", "text", "hashed"),
    [
        ("requirements.txt", HASHED, True),
        ("requirements.txt", "numpy==2.0.1\n", False),
        ("requirements.txt", HASHED + "requests>=2\n", False),
        ("requirements.lock", HASHED, True),
        ("uv.lock", UV, True),
        ("uv.lock", UV.replace(', hash = "sha256:00"', ""), False),
        ("pylock.toml", PYLOCK, True),
        ("poetry.lock", POETRY, True),
    ],
)
def test_pins_and_hashes(name, text, hashed):
    lock = read_lock(name, text.encode())
    assert lock.pins["numpy"] == "2.0.1"
    assert "mine" not in lock.pins
    assert lock.hashed is hashed
    assert lock.digest == Digest.of(text.encode())


@pytest.mark.parametrize("name", ["conda-lock.yml", "Pipfile.lock", "something.else"])
def test_what_is_not_read_is_still_named_by_its_digest(name):
    lock = read_lock(name, b"numpy==1\n")
    assert (lock.pins, lock.hashed) == ({}, None)


@pytest.mark.parametrize(
    "text", ["not = [toml", "package = [1, 2]", "x = " + "[" * 5000, "package = [[[1]]]"]
)
def test_hostile_locks_are_refused(text):
    with pytest.raises(UsageError, match="cannot be read"):
        read_lock("uv.lock", text.encode())


@pytest.mark.parametrize(
    "text", ["packages = 3", "[[package]]\nname = 1", "[[package]]\nname = 'x'\nversion = 2"]
)
def test_locks_of_another_form_pin_nothing(text):
    assert read_lock("uv.lock", text.encode()).pins == {}


def test_what_is_installed_in_another_version_is_said():
    lock = read_lock("requirements.txt", HASHED.encode())
    installed = [
        Distribution("numpy", "2.0.2", None),
        Distribution("typing-extensions", "4.1+local", None),
        Distribution("other", "1", None),
    ]
    assert lock.differs(installed) == ("numpy 2.0.2 (pinned 2.0.1)",)
    assert lock.to_json(installed)["differing"] == 1


def test_the_best_lock_is_found_and_loose_requirements_are_none(tmp_path):
    assert find_lock(None, [tmp_path]) is None
    (tmp_path / "requirements.txt").write_text("numpy\n")
    assert find_lock(None, [tmp_path]) is None
    (tmp_path / "requirements.txt").write_text(HASHED)
    assert find_lock(None, [tmp_path]).name == "requirements.txt"
    (tmp_path / "uv.lock").write_text(UV)
    assert find_lock(None, [tmp_path]).name == "uv.lock"
    with pytest.raises(NotFound):
        find_lock(tmp_path / "gone.lock", [tmp_path])


def test_a_run_names_its_lock_as_a_material_and_lists_no_distributions(world, signed_data, start, tmp_path):
    lock = tmp_path / "requirements.lock"
    lock.write_text(HASHED)
    out = world.folder / "out"
    with start(inputs=[signed_data], outputs=[out], lock=lock) as run:
        train(out)
        lock.write_text("changed afterwards")
    rows = said(run.claims[0])["buildDefinition"]["resolvedDependencies"]
    (found,) = [row for row in rows if row.get("annotations", {}).get("weighbridge:material") == "lock"]
    assert found["digest"]["sha256"] == Digest.of(HASHED.encode()).hex
    record = record_of(run.claims[0])
    assert record["lock"]["hashed"] is True
    assert any(row.startswith("numpy ") for row in record["lock"]["differs"])
    assert "distributions" not in record


def test_without_a_lock_what_is_installed_is_listed_with_the_digest_of_its_record(world, signed_data, start):
    out = world.folder / "out"
    with start(inputs=[signed_data], outputs=[out]) as run:
        train(out)
    record = record_of(run.claims[0])
    rows = {row["name"]: row for row in record["distributions"]}
    assert rows["numpy"]["version"] == record["frameworks"]["numpy"]
    assert rows["numpy"]["record"].startswith("sha256:")
    assert record["frameworks"]["python"].startswith("CPython 3.")


def test_surroundings_are_reported_without_torch_or_the_machine_s_name():
    import platform
    import sys

    found = hardware()
    assert found["cores"] >= 1
    assert found["memory"] > 1 << 20
    assert ("accelerators" in found) == ("torch" in sys.modules)
    assert platform.node() not in str(found) or platform.node() in ("", "localhost")
    assert frameworks(distributions())["weighbridge"]


class Broken:
    """A torch whose driver is broken."""

    class cuda:  # noqa: N801
        @staticmethod
        def device_count():
            raise RuntimeError("driver says https://user:planted@host")


class Cards:
    """A torch that reports one card."""

    class cuda:  # noqa: N801
        @staticmethod
        def device_count():
            return 1

        @staticmethod
        def get_device_properties(_number):
            return type("P", (), {"name": "NVIDIA H100", "total_memory": 85_000_000_000})()

    class version:  # noqa: N801
        cuda = "12.8"
        hip = None


def test_cards_as_torch_reports_them(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "torch", Cards)
    assert hardware()["accelerators"] == [{"name": "NVIDIA H100", "memory": 85_000_000_000}]
    assert hardware()["cuda"] == "12.8"
    monkeypatch.setitem(sys.modules, "torch", Broken)
    assert hardware()["accelerators_problem"] == "RuntimeError"
    assert "planted" not in str(hardware())
