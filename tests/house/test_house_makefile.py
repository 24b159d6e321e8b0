"""The Makefile stays a list of one-line targets, and what would bring CUDA is refused before it is fetched."""

import importlib.util
import re

import pytest
from house_tree import ROOT

MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def test_each_target_is_one_line():
    rules = re.split(r"^(?=\S[^\n=]*:(?!=))", MAKEFILE.partition(".DEFAULT_GOAL")[2], flags=re.MULTILINE)[1:]
    recipes = {
        rule.split(":")[0]: [line for line in rule.splitlines() if line.startswith("\t")] for rule in rules
    }
    public = {name: lines for name, lines in recipes.items() if not name.startswith(".")}
    assert {name for name, lines in public.items() if len(lines) > 1} == set()
    assert 10 <= len(public) <= 18
    assert set(re.search(r"^\.PHONY: (.+)$", MAKEFILE, re.MULTILINE)[1].split()) == set(public)


def test_installing_runs_nobodys_build_script():
    installs = [line for line in MAKEFILE.splitlines() if "pip install" in line or "$(PIP)" in line]
    assert len(installs) >= 3
    assert all(
        "--require-hashes --only-binary :all:" in line or "-e ." in line or "PIP :=" in line
        for line in installs
    )


@pytest.fixture(scope="module")
def fit_torch():
    spec = importlib.util.spec_from_file_location("fit_torch", ROOT / "tools" / "fit_torch.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("filename", "small"),
    [
        ("torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl", True),
        ("torch-2.13.0-cp311-none-macosx_11_0_arm64.whl", True),
        ("torch-2.13.0-cp311-cp311-manylinux_2_28_x86_64.whl", False),
        ("torch-2.13.0+cu130-cp311-cp311-manylinux_2_28_x86_64.whl", False),
        ("ERROR: No matching distribution found for torch==2.13.0", False),
    ],
)
def test_only_a_cpu_build_of_torch_is_taken(fit_torch, filename, small):
    assert fit_torch.is_small(filename) is small


def test_a_cuda_build_is_refused_with_a_remedy(fit_torch, monkeypatch, capsys):
    def none(_name):
        raise fit_torch.importlib.metadata.PackageNotFoundError

    monkeypatch.setattr(fit_torch.importlib.metadata, "version", none)
    monkeypatch.setattr(fit_torch, "offered", lambda: "torch-2.13.0-cp311-cp311-manylinux_2_28_x86_64.whl")
    monkeypatch.setattr(fit_torch.subprocess, "run", lambda *_a, **_k: pytest.fail("it was installed"))
    assert fit_torch.main() == 1
    assert "PIP_FIND_LINKS" in capsys.readouterr().err
