"""Rules on 7z archives: strictness of the container, and every member judged by its own content."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import BinaryIO

from weighbridge.core.errors import OutOfBudget, Unreadable
from weighbridge.core.finding import Coverage, Finding
from weighbridge.formats.archive import Anomaly
from weighbridge.formats.sevenzip import SevenArchive, SevenMember, read_sevenzip
from weighbridge.formats.sevenzip_coders import unpack_folder
from weighbridge.scanner.archives import of_anomaly
from weighbridge.scanner.contents import Contents, enter, keep, not_read
from weighbridge.scanner.file import Descend, Part, RuleInfo, ScannedFile

RULES: tuple[RuleInfo, ...] = ()

_CODES = {"sevenzip.encrypted": "encrypted", "sevenzip.method": "method"}


def read(file: ScannedFile, descend: Descend) -> Part:
    """Judge the container and every member; `descend` judges one member by its content."""
    enter(file)
    contents = Contents(file, descend)
    with file.open() as stream:
        try:
            archive = read_sevenzip(stream, file.size, file.budget.limits)
        except Unreadable as error:
            contents.add([_damage(file, error)])
            return Part(tuple(contents), Coverage(file.size, 0), "7z")
        file.budget.spend_members(len(archive.members))
        contents.add(of_anomaly(file, anomaly) for anomaly in archive.anomalies)
        for number in range(len(archive.folders)):
            _folder(contents, stream, archive, number)
    return Part(tuple(contents), contents.coverage(file.size - min(archive.explained, file.size)), "7z")


def _folder(contents: Contents, stream: BinaryIO, archive: SevenArchive, number: int) -> None:
    """Judge the members of one folder, whose contents follow each other in one packed stream."""
    folder = archive.folders[number]
    members = [member for member in archive.members if member.folder == number]
    source = _Unpacked(contents.file, unpack_folder(stream, folder))
    for member in members:
        if source.damage:
            contents.present += 1
            continue

        def inside(member: SevenMember = member) -> ScannedFile:
            return keep(contents.file, member.name, source.member(member))

        contents.judge(inside, member.name, folder.offset, member.size)
    try:
        source.drain()
    except OutOfBudget as error:
        contents.add([not_read(contents.file, "what follows the members", folder.offset, error)])
    if source.damage:
        contents.unread += folder.packed
        contents.add([_damage(contents.file, source.damage[0])])


class _Unpacked:
    """The content of one folder, handed out member by member."""

    def __init__(self, file: ScannedFile, chunks: Iterator[bytes]) -> None:
        self.file = file
        self.chunks = chunks
        self.rest = b""
        self.damage: list[Unreadable] = []

    def member(self, member: SevenMember) -> Iterator[bytes]:
        """Yield the bytes of the next member; damage ends them and is remembered."""
        left, crc = member.size, 0
        while left and (self.rest or self.more()):
            chunk, self.rest = self.rest[:left], self.rest[left:]
            left -= len(chunk)
            crc = zlib.crc32(chunk, crc)
            yield chunk
        if not left and member.crc not in (None, crc):
            self.damage.append(
                Unreadable("the 7z archive cannot be read", cause="the checksum of a member does not fit")
            )

    def more(self) -> bool:
        """Unpack some more; tell whether there was any."""
        try:
            while not self.rest:
                self.rest = next(self.chunks)
                self.file.budget.spend_unpacked(len(self.rest))
        except StopIteration:
            return False
        except Unreadable as error:
            self.damage.append(error)
        return not self.damage

    def drain(self) -> None:
        """Read to the end of the packed data, so that what follows the last member shows."""
        self.rest = b""
        while not self.damage and self.more():
            self.rest = b""


def _damage(file: ScannedFile, error: Unreadable) -> Finding:
    code = _CODES.get(error.check, "damage")
    return of_anomaly(file, Anomaly(code, 0, f"{error.problem}: {error.cause}"))
