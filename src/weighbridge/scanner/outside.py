"""Account for raw data files that mean nothing by themselves: a model beside them says which tensor lies where."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from weakref import WeakKeyDictionary

from weighbridge.core.errors import WeighbridgeError
from weighbridge.core.finding import Finding
from weighbridge.scanner.damage import finding
from weighbridge.scanner.file import RuleInfo, ScannedFile

Claim = tuple[str, int, int]
"""Location relative to the model's folder, offset, length; a length below 0 reaches to the end."""
MAX_CANDIDATES = 64
_CHUNK = 1024 * 1024


def leads_out(name: str) -> bool:
    """Tell whether a relative path is anything but plain: absolute, upwards, with a drive, a scheme or a wildcard."""
    parts = name.split("/")
    strange = any(char in name for char in '\\:*?"<>|\0') or any(char < " " for char in name)
    return not name or strange or name.startswith("~") or any(part in ("", ".", "..") for part in parts)


class OutsideData:
    """Knows the models of one format that keep tensors in files beside them."""

    def __init__(
        self,
        suffixes: tuple[str, ...],
        first: bytes,
        claims: Callable[[ScannedFile], list[Claim]],
        *,
        largest_gap: int,
    ) -> None:
        self.suffixes = suffixes
        self.first = first
        self.read_claims = claims
        self.largest_gap = largest_gap
        self._known: WeakKeyDictionary[
            Callable[[str], ScannedFile | None], dict[str, dict[str, list[Claim]]]
        ] = WeakKeyDictionary()

    def sibling(self, file: ScannedFile, location: str) -> ScannedFile | None:
        """Return the file that `location`, relative to `file`, names; None inside archives and when there is none."""
        if file.neighbour is None or file.members:
            return None
        folder = file.path.rpartition("/")[0]
        return file.neighbour(f"{folder}/{location}" if folder else location)

    def claims(self, file: ScannedFile) -> list[Claim]:
        """Return what the models of this and the outer folders claim of `file`."""
        if file.neighbour is None or file.members:
            return []
        known = self._known.setdefault(file.neighbour, {})
        folder = file.path.rpartition("/")[0]
        rows: list[Claim] = []
        while True:
            if folder not in known:
                known[folder] = self._folder(file, folder)
            prefix = f"{folder}/" if folder else ""
            rows += known[folder].get(file.path.removeprefix(prefix), [])
            if not folder:
                return rows
            folder = folder.rpartition("/")[0]

    def _folder(self, file: ScannedFile, folder: str) -> dict[str, list[Claim]]:
        """Read the claims of the models in one folder."""
        found: dict[str, list[Claim]] = {}
        prefix = f"{folder}/" if folder else ""
        paths = (path for path in file.siblings if path.startswith(prefix) and path.endswith(self.suffixes))
        models = sorted(path for path in paths if "/" not in path[len(prefix) :])
        for path in models[:MAX_CANDIDATES]:
            model = file.neighbour(path) if file.neighbour is not None else None
            if model is None or not model.size or model.read(len(self.first)) != self.first:
                continue
            try:
                rows = self.read_claims(model)
            except WeighbridgeError:
                continue  # the model's own findings say what is wrong with it
            for row in rows:
                found.setdefault(row[0], []).append(row)
        return found

    def claimed(self, file: ScannedFile) -> bool:
        """Tell whether some model keeps data in `file`."""
        return bool(self.claims(file))

    def check(self, file: ScannedFile, rule: RuleInfo) -> Iterator[Finding]:
        """Report bytes that no model claims, unless they are zeros that align the next tensor."""
        spans = sorted(
            (offset, file.size if length < 0 else offset + length) for _, offset, length in self.claims(file)
        )
        place = 0
        with file.open() as stream:
            for begin, end in [*spans, (file.size, file.size)]:
                if begin > place and not self._padding(stream.seek, stream.read, place, begin):
                    yield finding(
                        file, rule, f"{begin - place} bytes belong to no tensor of the models beside this file", offset=place,
                        why="bytes that nothing explains can be another file to another reader", subject=f"hole {place}",
                        help="have the model saved anew by its author",
                    )  # fmt: skip
                    return
                place = max(place, end)

    def _padding(
        self, seek: Callable[[int], int], read: Callable[[int], bytes], begin: int, end: int
    ) -> bool:
        if end - begin > self.largest_gap:
            return False
        seek(begin)
        return not read(end - begin).strip(b"\0")
