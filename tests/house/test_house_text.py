"""What is kept here speaks of the project alone: no machine's paths, no registry's hosts, no broken link."""

import re

import pytest
from house_tree import ROOT, kept_files, texts

SELF = "tests/house/test_house_text.py"
# Folders of somebody's machine, and hosts that serve packages: what they are called differs elsewhere.
PLACES = re.compile(r"(?<![\w.])/(?:work/|root/|home/[a-z]|Users/|opt/[a-z]|tmp/wb)")
HOSTS = re.compile(
    r"\b(?:pypi\.org|files\.pythonhosted\.org|test\.pypi\.org|registry\.npmjs\.org|deb\.debian\.org"
    r"|download\.pytorch\.org|crates\.io|proxy\.golang\.org)\b"
)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s#]+)(?:#[^)]*)?\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
DOCUMENTS = [(path, text) for path, text in texts() if path.endswith(".md")]
LARGEST = 512 * 1024


def found(pattern):
    return [
        f"{path}:{text.count(chr(10), 0, match.start()) + 1} {match[0]}"
        for path, text in texts()
        if path != SELF
        for match in pattern.finditer(text)
    ]


def test_no_path_of_a_machine():
    assert found(PLACES) == []


def test_no_host_of_a_package_registry():
    assert found(HOSTS) == []


@pytest.mark.parametrize(("path", "text"), DOCUMENTS, ids=[path for path, _ in DOCUMENTS])
def test_links_between_documents_lead_somewhere(path, text):
    folder = (ROOT / path).parent
    targets = [target for target in LINK.findall(FENCE.sub("", text)) if "://" not in target]
    assert [target for target in targets if not (folder / target).exists()] == []


def test_nothing_large_is_kept():
    sizes = {path.relative_to(ROOT).as_posix(): path.stat().st_size for path in kept_files()}
    assert {path: size for path, size in sizes.items() if size > LARGEST} == {}


def test_no_model_is_kept():
    """Samples are made by the tests that need them; a dangerous file in a checkout is one too many."""
    suffixes = {".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth", ".safetensors", ".joblib", ".npy", ".npz"}
    assert [path for path in kept_files() if path.suffix in suffixes] == []
