"""What is installed is what is here: the wheel holds every module and every file that a module reads."""

import shutil
import subprocess
import sys
import zipfile

import pytest
from house_tree import ROOT, SOURCE

NOT_SHIPPED = {"__pycache__"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build the wheel from a copy of what it is built from, without fetching anything."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / name)
    shutil.copytree(SOURCE, folder / "src" / "weighbridge", ignore=shutil.ignore_patterns(*NOT_SHIPPED))
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
        [*command, "-w", str(folder), str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("weighbridge-*-py3-none-any.whl")
    return zipfile.ZipFile(built)


def test_nothing_is_left_behind(wheel):
    here = {path.relative_to(SOURCE.parent).as_posix() for path in SOURCE.rglob("*") if path.is_file()}
    here = {path for path in here if not NOT_SHIPPED & set(path.split("/"))}
    there = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert here - there == set()
    assert there - here == set()


def test_it_carries_its_licence_and_its_command(wheel):
    names = {name.split("/", 1)[1] for name in wheel.namelist() if ".dist-info/" in name}
    assert "licenses/LICENSE" in names
    (points,) = [name for name in wheel.namelist() if name.endswith("entry_points.txt")]
    assert "weighbridge = weighbridge.cli.main:entry" in wheel.read(points).decode()
