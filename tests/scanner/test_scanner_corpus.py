"""The sample files of other scanners' test suites: nothing malicious passes, and each benign one that is blocked has a reason.

The folder is not part of the project; these tests skip where it is absent. Nothing in it is ever loaded.
"""

import csv
import os
from functools import cache
from pathlib import Path

import pytest

from weighbridge.core.digest import Digest
from weighbridge.core.finding import Verdict
from weighbridge.core.manifest import FileEntry, Manifest
from weighbridge.scanner.engine import scan_files

CORPUS = Path(os.environ.get("WEIGHBRIDGE_CORPUS", Path(__file__).parents[3] / "shared" / "corpus"))
LABELS = CORPUS / "labels.csv"
pytestmark = pytest.mark.skipif(not LABELS.is_file(), reason="the sample files are not here")

BLOCKED_ON_PURPOSE = {
    "picklescan/benign_password_protected.zip": (
        Verdict.UNREAD,
        "its content cannot be read without a password",
    ),
    "picklescan/not_a_pickle.bin": (Verdict.UNREAD, "seven bytes of no format at all"),
}
"""Benign files that do not pass, the verdict they get, and why that is right."""


def rows(*labels):
    if not LABELS.is_file():
        return []
    with LABELS.open(newline="") as table:
        return [row["path"] for row in csv.DictReader(table) if row["label"] in labels]


@cache
def scan(path):
    data = (CORPUS / path).read_bytes()
    entry = FileEntry(Path(path).name, len(data), Digest.of(data))
    return scan_files(path, Manifest.of([entry]), lambda _: data)


def test_the_sample_files_are_all_there():
    assert len(rows("malicious")) > 180
    assert all((CORPUS / path).is_file() for path in rows("malicious", "benign", "invalid", "edge"))


@pytest.mark.parametrize("path", rows("malicious", "edge", "invalid"))
def test_nothing_malicious_or_invalid_passes(path):
    assert not scan(path).verdict.passes


def test_benign_files_pass_but_for_the_ones_listed_with_a_reason():
    blocked = {path: scan(path).verdict for path in rows("benign") if not scan(path).verdict.passes}
    assert blocked == {path: verdict for path, (verdict, _) in BLOCKED_ON_PURPOSE.items()}


def test_most_malicious_files_are_called_dangerous_by_name():
    """The words matter too: wording may get better, never worse."""
    dangerous = [path for path in rows("malicious") if scan(path).verdict is Verdict.DANGEROUS]
    assert len(dangerous) >= 167


def test_no_scan_ended_in_an_error_of_our_own():
    for path in rows("malicious", "benign", "invalid", "edge"):
        assert all("ended in" not in finding.message for finding in scan(path).findings), path
