"""Rules on names that promise another content: a file called safetensors that is none was cut short or swapped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from weighbridge.core.finding import Finding, Verdict
from weighbridge.scanner.file import RuleInfo, ScannedFile, severity_of
from weighbridge.scanner.text_rules import POINTER

RULES = (
    RuleInfo("file-suffix", "The file's name promises a format that its content is not", Verdict.BROKEN),
)
EXPLAINS: frozenset[str] = frozenset()

PROMISED: Mapping[str, tuple[str, ...]] = {
    ".safetensors": ("safetensors",),
    ".npy": ("npy",),
    ".npz": ("npz", "zip"),
    ".h5": ("hdf5",),
    ".hdf5": ("hdf5",),
    ".hdf": ("hdf5",),
    ".he5": ("hdf5",),
    ".keras": ("keras", "hdf5"),
    ".gguf": ("gguf",),
    ".skops": ("skops",),
}
"""Suffixes of formats that are read here to the end, and the kinds of content that keep the promise."""


def examine(file: ScannedFile) -> Iterator[Finding]:
    """Report a file or member whose content is not what its suffix promises."""
    if file.text is not None and file.text.startswith(POINTER):
        return  # never fetched: text_rules says so
    for suffix, kinds in PROMISED.items():
        if file.name.endswith(suffix) and file.kind not in kinds:
            yield Finding(
                rule="file-suffix",
                verdict=Verdict.BROKEN,
                severity=severity_of(Verdict.BROKEN),
                location=file.at(0),
                message=f"this is called {suffix} and its content is {file.kind}",
                why="a file that was cut short, never fetched or swapped is read by every loader in its own way",
                help="fetch the file again; if that changes nothing, tell its publisher",
                subject=suffix,
            )
