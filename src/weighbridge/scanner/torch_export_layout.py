"""Archives of torch.export (pt2): graphs of listed operators, and raw weights that their table describes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from weighbridge.core.errors import WeighbridgeError
from weighbridge.core.finding import Coverage, Finding
from weighbridge.formats.archive import ZipArchive, ZipMember, read_member
from weighbridge.formats.torch_export import (
    facts,
    is_arithmetic,
    is_guard,
    is_plain_tree,
    operator_of,
    read_document,
)
from weighbridge.formats.torchscript import Program
from weighbridge.scanner.file import Part, RuleInfo, ScannedFile, printable
from weighbridge.scanner.torch_layout import odd
from weighbridge.scanner.torchscript_rules import not_printed, note_program, of_operator, operators

RULES: tuple[RuleInfo, ...] = ()

_WIDTHS = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 2, 7: 4, 8: 8, 9: 4, 10: 8, 11: 16, 12: 1, 13: 2, 28: 2, 29: 1, 30: 1,
           31: 1, 32: 1, 33: 1, 34: 4, 35: 8}  # fmt: skip
_HIGHER_ORDER = frozenset((
    "cond", "while_loop", "map_impl", "scan", "associative_scan", "wrap_with_set_grad_enabled", "wrap_with_autocast",
    "wrap", "invoke_subgraph", "flex_attention", "strict_mode", "auto_functionalized", "auto_functionalized_v2",
))  # fmt: skip
_OPERATOR = frozenset((
    "getitem", "eq", "ne", "le", "ge", "lt", "gt", "neg", "pos", "mul", "add", "sub", "floordiv", "mod", "pow", "truediv",
    "and_", "or_", "lshift", "rshift",
))  # fmt: skip
_MATH = frozenset(("trunc", "ceil", "floor", "sqrt"))
_MODEL = re.compile(r"(?:models/[^/]+|serialized_exported_program)\.json")
_TABLE = re.compile(r"data/(weights|constants)/[^/]+_config\.json")
_SMALL = re.compile(r"archive_version|version|byteorder|\.data/(?:version|serialization_id)")
_SMALL_TEXT = re.compile(rb"[0-9.]{1,64}\n?|little|big")
_MAX_TABLE = 64 * 1024 * 1024


def layout(file: ScannedFile, archive: ZipArchive) -> ExportLayout | None:
    """Return the layout of an archive of torch.export, or None when the archive is none."""
    names = {member.name for member in archive.members}
    if "serialized_exported_program.json" in names:
        return ExportLayout(file, archive, "")
    for name in names:
        folder, slash, rest = name.partition("/")
        if (
            slash
            and rest == "archive_format"
            and any(other.startswith(f"{folder}/models/") for other in names)
        ):
            return ExportLayout(file, archive, folder + slash)
    return None


class ExportLayout:
    """Graphs as JSON, tables of weights, and the raw weights."""

    kind = "torch-export"

    def __init__(self, file: ScannedFile, archive: ZipArchive, root: str) -> None:
        self.file = file
        self.archive = archive
        self.root = root
        self.program = Program()
        self.weights: dict[str, int] = {}
        """Path of a raw member to the bytes that its table gives it at least."""
        with file.open() as stream:
            for member in archive.members:
                match = _TABLE.fullmatch(self.path(member))
                if match and member.size <= _MAX_TABLE:
                    self.table(stream, member, f"data/{match.group(1)}/")

    def path(self, member: ZipMember) -> str:
        """Return the member's path below the root, or an empty text when it lies elsewhere."""
        return member.name.removeprefix(self.root) if member.name.startswith(self.root) else ""

    def table(self, stream: Any, member: ZipMember, folder: str) -> None:
        """Note which members a table describes as raw tensors."""
        try:
            document = read_document(read_member(stream, member, self.file.budget))
        except WeighbridgeError:
            return  # judged, and reported, when its turn comes
        rows = document.get("config") if isinstance(document, Mapping) else None
        for row in rows.values() if isinstance(rows, Mapping) else ():
            if isinstance(row, Mapping) and row.get("use_pickle") is False:
                size, name = _bytes_of(row.get("tensor_meta")), row.get("path_name")
                if size is not None and isinstance(name, str) and "/" not in name:
                    self.weights[folder + name] = max(size, self.weights.get(folder + name, 0))

    def raw(self, member: ZipMember) -> bool:
        """Tell whether a table describes the member as raw bytes of at least its size."""
        least = self.weights.get(self.path(member))
        return least is not None and member.size >= least

    def judge(self, inside: ScannedFile, member: ZipMember) -> Part | None:
        """Judge graphs and small members; everything else is judged by its content."""
        path = self.path(member)
        found: list[Finding] = []
        if _MODEL.fullmatch(path):
            found = list(self.model(inside))
        elif path == "archive_format":
            if inside.read(64).strip() != b"pt2":
                found = [odd(self.file, member.header_offset, f"{printable(member.name)} is not 'pt2'", path)]
        elif _SMALL.fullmatch(path) and member.size <= 64:
            if not _SMALL_TEXT.fullmatch(inside.read()):
                what = f"{printable(member.name)} holds something unexpected"
                found = [odd(self.file, member.header_offset, what, path)]
        elif path.startswith("data/aotinductor/"):
            found = [not_printed(inside, "compiled code", "", 0)]
        else:
            return None
        return Part(tuple(found), Coverage(inside.size, inside.size), inside.kind)

    def model(self, inside: ScannedFile) -> Iterator[Finding]:
        """Judge one graph: its operators, and the texts that loading evaluates."""
        seen: set[tuple[str, str]] = set()
        for fact in facts(read_document(inside.read())):
            if fact in seen:
                continue
            seen.add(fact)
            what, text = fact
            if what == "operator":
                yield from self.operator(inside, text)
            elif not {"expression": is_arithmetic, "guard": is_guard, "tree": is_plain_tree}[what](text):
                yield not_printed(inside, f"the {what} {text[:80]!r}, which loading evaluates", "", 0)

    def operator(self, inside: ScannedFile, target: str) -> Iterator[Finding]:
        """Judge one operator by its dotted name."""
        name = operator_of(target)
        self.program.operators.setdefault(name or target, ("", 0))
        space, _, short = name.partition("::")
        known = {"higher_order": _HIGHER_ORDER, "operator": _OPERATOR, "math": _MATH}.get(space)
        if space == "torch" or (known is not None and short in known) or name in operators().allowed:
            return
        yield of_operator(inside, name or target, "", 0)

    def finish(self) -> Iterator[Finding]:
        """Say that there is a program, and which raw members are shorter than their table says."""
        yield note_program(self.file, self.program)
        for member in self.archive.members:
            least = self.weights.get(self.path(member))
            if least is not None and member.size < least:
                reason = f"{printable(member.name)} has {member.size} bytes, at least {least} are declared"
                yield odd(self.file, member.header_offset, reason, member.name)


def _bytes_of(meta: Any) -> int | None:
    """Return the bytes of a tensor that its description asks for."""
    if not isinstance(meta, Mapping) or not isinstance(meta.get("sizes"), list):
        return None
    count = _WIDTHS.get(meta.get("dtype", 0), 0)
    for size in meta["sizes"]:
        side = size.get("as_int") if isinstance(size, Mapping) else None
        if type(side) is not int or side < 0:
            return None
        count = min(count * side, 1 << 62)
    return count or (0 if any(size.get("as_int") == 0 for size in meta["sizes"]) else None)
