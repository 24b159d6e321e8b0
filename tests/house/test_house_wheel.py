"""What is installed is what is here: the wheel holds every module and every file that a module reads."""

import os
import shutil
import subprocess
import sys
import zipfile

import pytest
from house_tree import ROOT, SOURCE

NOT_SHIPPED = {"__pycache__"}
BUILT = ("*.so", "*.pyd")


def build(folder, **environment):
    """Build the wheel from a copy of what it is built from, without fetching anything; return it and its name."""
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / name)
    ignored = shutil.ignore_patterns(*NOT_SHIPPED, *BUILT)
    shutil.copytree(SOURCE, folder / "src" / "weighbridge", ignore=ignored)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
    ]
    done = subprocess.run(
        [*command, "-w", str(folder), str(folder)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("weighbridge-*.whl")
    return zipfile.ZipFile(built), built.name


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return build(tmp_path_factory.mktemp("wheel"), WEIGHBRIDGE_PURE="1")[0]


def binaries(wheel):
    return [name for name in wheel.namelist() if name.endswith((".so", ".pyd"))]


@pytest.mark.parametrize("environment", [{"WEIGHBRIDGE_PURE": "1"}, {"CC": "/bin/false"}])
def test_without_a_compiler_the_wheel_is_for_every_python(tmp_path, environment):
    wheel, name = build(tmp_path, **environment)
    assert name.endswith("-py3-none-any.whl")
    assert binaries(wheel) == []
    assert not [name for name in wheel.namelist() if ".data/" in name]


@pytest.mark.full
@pytest.mark.timeout(600)
def test_with_a_compiler_the_wheel_is_for_this_python_and_its_binary_runs(tmp_path):
    wheel, name = build(tmp_path, WEIGHBRIDGE_PURE="")
    if not binaries(wheel):
        pytest.skip("there is no C compiler here")
    version = f"cp{sys.version_info.major}{sys.version_info.minor}"
    assert f"-{version}-{version}-" in name
    wheel.extractall(tmp_path / "installed")
    asked = "from weighbridge.formats import pickle_build as b, pickle_trace as t; "
    done = subprocess.run(
        [sys.executable, "-c", asked + r"print(b.compiled(), t.trace(b'cos\nsystem\n.').events[0].name)"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "installed"), "WEIGHBRIDGE_PURE": ""},
    )
    assert done.stdout.split() == ["True", "system"]


def test_nothing_is_left_behind(wheel):
    here = {path.relative_to(SOURCE.parent).as_posix() for path in SOURCE.rglob("*") if path.is_file()}
    here = {
        path for path in here if not NOT_SHIPPED & set(path.split("/")) and not path.endswith((".so", ".pyd"))
    }
    there = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert here - there == set()
    assert there - here == set()


def test_it_carries_its_licence_and_its_command(wheel):
    names = {name.split("/", 1)[1] for name in wheel.namelist() if ".dist-info/" in name}
    assert "licenses/LICENSE" in names
    (points,) = [name for name in wheel.namelist() if name.endswith("entry_points.txt")]
    assert "weighbridge = weighbridge.cli.main:entry" in wheel.read(points).decode()
