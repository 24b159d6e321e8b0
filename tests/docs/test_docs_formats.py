"""docs/formats.md names every kind of file, and says of none that it is read when nobody reads it."""

import importlib
import re
from pathlib import Path

from weighbridge.scanner import CONTAINERS, EXAMINERS, LAYOUTS
from weighbridge.scanner.routing import KINDS

PAGE = (Path(__file__).parents[2] / "docs" / "formats.md").read_text()
LAID_OUT = {"torch-zip", "torchscript", "torch-export", "torch-package", "torch-tar", "keras", "skops", "npz"}
"""Kinds that a zip or tar archive turns out to be."""


def kinds_of(text):
    cells = (line.split("|")[1] for line in text.splitlines() if line.startswith("| `"))
    return [kind for cell in cells for kind in re.findall(r"`([^`]+)`", cell)]


def test_every_kind_stands_on_the_page_once():
    named = kinds_of(PAGE)
    assert sorted(named) == sorted(KINDS)


def test_the_page_says_unread_of_exactly_the_kinds_that_nobody_reads():
    explained = {kind for name in EXAMINERS for kind in importlib.import_module(name).EXPLAINS}
    read = explained | set(CONTAINERS) | LAID_OUT | {"empty"}
    _, unread = PAGE.split("## Recognised and not read")
    assert sorted(kinds_of(unread)) == sorted(set(KINDS) - read)


def test_what_an_archive_can_turn_out_to_be_is_known_by_a_layout():
    sources = "".join(Path(importlib.import_module(name).__file__).read_text() for name in LAYOUTS)
    folder = Path(importlib.import_module("weighbridge.scanner.archives").__file__).parent
    sources += (folder / "archives.py").read_text() + (folder / "tar_rules.py").read_text()
    assert all(f'"{kind}"' in sources for kind in LAID_OUT)
