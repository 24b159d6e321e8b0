"""Know the layout of a `.keras` archive: a configuration, metadata, weights and, for some layers, assets."""

from __future__ import annotations

import re
from collections.abc import Iterator

from weighbridge.core.finding import Finding, Verdict
from weighbridge.formats.archive import ZipArchive, ZipMember
from weighbridge.scanner.file import Part, RuleInfo, ScannedFile, printable, severity_of

RULES = (RuleInfo("keras-layout", "A Keras archive that holds what Keras has no use for", Verdict.UNLISTED),)

_MEMBERS = re.compile(r"config\.json|metadata\.json|model(_\d+)?\.weights\.(h5|npz|json)|assets(/.*)?")


def layout(file: ScannedFile, archive: ZipArchive) -> KerasLayout | None:
    """Return the layout of a Keras archive, or None when the archive is none."""
    names = {member.name for member in archive.members}
    weights = any(name.startswith("model") and ".weights." in name for name in names)
    return (
        KerasLayout(file, archive)
        if "config.json" in names and (weights or "metadata.json" in names)
        else None
    )


class KerasLayout:
    """Every member is judged by its content; `keras_rules` judges the configuration, `hdf5_rules` the weights."""

    kind = "keras"

    def __init__(self, file: ScannedFile, archive: ZipArchive) -> None:
        self.file = file
        self.archive = archive

    def raw(self, member: ZipMember) -> bool:  # noqa: ARG002  the port's signature
        """Tell whether the member's bytes mean nothing by themselves: none do."""
        return False

    def judge(self, inside: ScannedFile, member: ZipMember) -> Part | None:  # noqa: ARG002  the port's signature
        """Leave the member to its content."""
        return None

    def finish(self) -> Iterator[Finding]:
        """Report members that Keras neither writes nor reads."""
        for member in self.archive.members:
            if not _MEMBERS.fullmatch(member.name):
                shown = printable(member.name)
                yield Finding(
                    rule="keras-layout",
                    verdict=Verdict.UNLISTED,
                    severity=severity_of(Verdict.UNLISTED),
                    location=self.file.at(member.header_offset),
                    message=f"{shown} is not part of a Keras archive",
                    why="Keras unpacks all of the archive, also what it does not read itself",
                    help="have the model saved again by Keras",
                    subject=shown,
                )
