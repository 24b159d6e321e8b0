"""Rules on pickles: every name and call of every stream is judged, and every byte must belong to a stream."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from weighbridge.core.finding import Coverage, Finding, Location, Verdict
from weighbridge.formats.limits import Limits
from weighbridge.formats.pickle_events import Arg, Event, Trace
from weighbridge.formats.pickle_ops import CODES
from weighbridge.formats.pickle_trace import trace
from weighbridge.scanner import names
from weighbridge.scanner.file import Part, RuleInfo, ScannedFile, from_bytes, printable, severity_of
from weighbridge.scanner.pickle_lookups import is_lookup, only_listed
from weighbridge.scanner.pickle_made import carried, only_made

RULES = (
    RuleInfo("pickle-call", "Loading the file would run something dangerous", Verdict.DANGEROUS),
    RuleInfo("pickle-import", "Loading the file would fetch something dangerous", Verdict.DANGEROUS),
    RuleInfo("pickle-unlisted", "Loading the file would use a name that nobody has listed", Verdict.UNLISTED),
    RuleInfo("pickle-persistent", "The pickle refers to objects outside of itself", Verdict.UNLISTED),
    RuleInfo("pickle-broken", "The pickle is not one that a pickler writes", Verdict.BROKEN),
    RuleInfo("pickle-trailing", "Bytes follow the pickle", Verdict.BROKEN),
    RuleInfo("pickle-streams", "Several pickles follow each other in one file", Verdict.NOTES),
    RuleInfo("pickle-profile", "Loading the file runs code of a library that is known", Verdict.NOTES),
)
EXPLAINS = frozenset({"pickle"})

Storages = dict[str, tuple[str, int]]
"""Key of a torch storage to its type and number of elements."""

_WHY_CALL = "pickle runs this while it reads the file, before any tensor is there"
_WHY_IMPORT = "pickle imports the module while it reads the file, and hands the object to whatever follows"
_DOING: Mapping[str, str] = {
    "build": "set the state of", "items": "put items into", "key": "compare and hash", "call": "call",
}  # fmt: skip
_SHOWN = 8
_CARRIER = ("torch.storage", "_load_from_bytes")
_HELP = "do not load it; ask who published it for the weights as safetensors"


@dataclass(slots=True)
class Judgement:
    """What came of one or more streams: findings, torch storages they refer to, and the offset reached."""

    findings: list[Finding] = field(default_factory=list)
    storages: Storages = field(default_factory=dict)
    end: int = 0
    complete: bool = True
    used: dict[str, dict[str, Event]] = field(default_factory=dict)
    """Library to the names of its profile that the streams use, each with its first event."""


def examine(file: ScannedFile) -> Iterable[Finding]:
    """Judge a plain pickle file: all its streams, one after the other."""
    if file.kind != "pickle":
        return ()
    return judge_streams(file, file.read()).findings


def judge_streams(file: ScannedFile, data: bytes, start: int = 0) -> Judgement:
    """Judge every stream of `data` from `start`; whatever is left after them is a finding."""
    limits = file.budget.limits
    result = Judgement(end=start)
    streams = 0
    while result.end < len(data):
        if streams == limits.max_streams:
            result.findings.append(
                _unread(file, result.end, f"more than {streams} pickles follow each other")
            )
            return result
        one = run(data, result.end, limits)
        if streams and one.broken and not _acts(one):
            result.findings.append(_trailing(file, result.end, len(data)))
            return result
        judge(file, one, result, start=result.end)
        streams += 1
        result.end = one.end
        if one.broken or one.spent:
            return result
    if streams > 1:
        result.findings.append(
            _finding(
                file.at(0), "pickle-streams", Verdict.NOTES, f"{streams} pickles follow each other",
                why="a loader that reads once takes the first; all of them were judged", subject="streams",
            )
        )  # fmt: skip
    return result


def run(data: bytes, start: int, limits: Limits) -> Trace:
    """Trace the stream at `start` within `limits`."""
    return trace(
        data,
        start,
        max_opcodes=limits.max_opcodes,
        max_events=limits.max_events,
        max_expansion=limits.max_expansion,
    )


def _acts(one: Trace) -> bool:
    """Whether a stream does something before it breaks, so that it cannot pass for stray bytes."""
    return any(event.kind == "call" for event in one.events)


def judge(
    file: ScannedFile,
    one: Trace,
    result: Judgement,
    *,
    torch: bool = False,
    script: bool = False,
    start: int = 0,
) -> None:
    """Add to `result` what the events and anomalies of one stream come to.

    `torch` allows storages. `script` allows the names of a TorchScript archive (`__torch__.…`), which no
    pickle loader resolves: only torch.jit reads such a member, and builds its objects from the archive's code.
    `start` is where in the file the stream, or the first of several whole ones, begins.
    """
    seen: dict[tuple[str, str], Finding] = {}
    listed_lookups: bool | None = None
    for event in one.events:
        if event.kind == "persistent":
            _persistent(file, event, result, torch=torch)
            continue
        if is_lookup(event):
            if listed_lookups is None:
                listed_lookups = only_listed(one, file.read(), start)
            if listed_lookups:
                continue
        if script and (event.module.partition(".")[0] == "__torch__" or event.module == "torch.jit._pickle"):
            continue
        finding = _judge_event(file, event, result)
        if finding is None:
            continue
        key = (finding.rule.replace("pickle-import", "pickle-call"), finding.subject)
        known = seen.get(key)
        if known is None or (known.rule, finding.rule) == ("pickle-import", "pickle-call"):
            seen[key] = finding
    result.findings.extend(seen.values())
    _note_profiles(file, result)
    _check_made(file, one, result, start)
    _judge_carried(file, one, result, start)
    for anomaly in one.anomalies:
        result.findings.append(_broken(file, anomaly.pos, anomaly.reason, anomaly.code))
    if one.spent:
        result.complete = False
        result.findings.append(_unread(file, one.end, one.broken or "more opcodes than the limit allows"))
    elif one.broken:
        result.complete = False
        result.findings.append(_broken(file, one.end, one.broken, "broken"))


def _looks_up(event: Event) -> bool:
    """Whether this is getattr as picklers write it for bound methods: blocked like any unlisted name, but no attack by itself."""
    if event.name != "getattr" or event.module not in ("builtins", "__builtin__"):
        return False
    if event.kind != "call" or event.args is None:
        return event.kind == "global"
    kinds = tuple(arg.kind for arg in event.args)
    if kinds not in (("global", "str"), ("result", "str")) or not event.args[1].text.isidentifier():
        return False
    module, _, name = event.args[0].text.rpartition(".")
    return not names.danger(module, name) and not event.args[1].text.startswith("__")


def _judge_event(file: ScannedFile, event: Event, result: Judgement) -> Finding | None:
    full = f"{event.module}.{event.name}"
    shown = printable(full)
    find = names.find_attribute if event.name_opcode == "GETATTR" else names.find
    listed = find(event.module, event.name)
    if listed is not None and listed.allows(event):
        if listed.library:
            result.used.setdefault(listed.library, {}).setdefault(full, event)
        return None
    known = "" if _looks_up(event) else names.danger(event.module, event.name)
    if listed is not None and not known:
        return _finding(
            file.at(event.pos), "pickle-unlisted", Verdict.UNLISTED,
            f"loading this file would {_DOING.get(event.kind, 'call')} {shown} in a way that is not listed",
            why=f"{shown} is harmless only in the ways that a pickler writes; this is another one",
            evidence=_evidence(event), subject=full, help=_HELP,
        )  # fmt: skip
    if known:
        called = event.kind != "global"
        return _finding(
            file.at(event.pos), "pickle-call" if called else "pickle-import", Verdict.DANGEROUS,
            f"loading this file would {'run' if called else 'fetch'} {shown}",
            why=f"it {known}; {_WHY_CALL if called else _WHY_IMPORT}",
            evidence=_evidence(event), subject=full, help=_HELP,
        )  # fmt: skip
    if event.kind != "global":
        return None  # the name itself was reported, unlisted, where it was resolved
    return _finding(
        file.at(event.pos), "pickle-unlisted", Verdict.UNLISTED,
        f"loading this file would use {shown}, which nobody has listed as harmless",
        why=_WHY_IMPORT, evidence=_evidence(event), subject=full, help=_HELP,
    )  # fmt: skip


def _note_profiles(file: ScannedFile, result: Judgement) -> None:
    """Say once for each file and library that loading runs that library's code."""
    for library, used in result.used.items():
        old = [item for item in result.findings if item.rule == "pickle-profile" and item.subject == library]
        for item in old:
            result.findings.remove(item)
        first = next(iter(used.values()))
        shown = [printable(full, 80) for full in used][:_SHOWN]
        count = f"{len(used)} names" if len(used) > 1 else "1 name"
        result.findings.append(
            _finding(
                file.at(first.pos), "pickle-profile", Verdict.NOTES,
                f"loading this file runs code of {library}: {count} that its profile lists",
                why=f"the profile was derived from the source of {library} {names.read_versions(library)}; each name is"
                " used in a way that rebuilds data, and what the model does later is that library's code",
                evidence=(*shown, *((f"and {len(used) - _SHOWN} more",) if len(used) > _SHOWN else ())),
                subject=library,
            )
        )  # fmt: skip


def _check_made(file: ScannedFile, one: Trace, result: Judgement, start: int) -> None:
    """Report classes that may only be made, where the stream keeps one as a value."""
    wanted = {}
    for event in one.events:
        plain = event.kind == "global" and event.opcode != "GETATTR"
        listed = names.find(event.module, event.name) if plain else None
        if listed is not None and listed.made:
            wanted[event.module, event.name] = event
    if not wanted or only_made(file.read(), start, one.end, wanted.keys()):
        return
    for (module, name), event in wanted.items():
        full = f"{module}.{name}"
        result.findings.append(
            _finding(
                file.at(event.pos), "pickle-unlisted", Verdict.UNLISTED,
                f"this file uses {printable(full)} for more than making an object of it",
                why="calling the class later, with arguments of the file's choice, can reach files or other code",
                evidence=_evidence(event), subject=full, help=_HELP,
            )
        )  # fmt: skip


def _judge_carried(file: ScannedFile, one: Trace, result: Judgement, start: int) -> None:
    """Judge the checkpoints that a pickle of tensors carries as bytes: torch loads each by itself."""
    event = next((event for event in one.events if (event.module, event.name) == _CARRIER), None)
    if event is None:
        return
    from weighbridge.scanner.routing import identify
    from weighbridge.scanner.torch_layout import read

    found = carried(file.read(), start, one.end, _CARRIER)
    for number, content in enumerate(found or ()):
        inside = identify(
            replace(
                from_bytes(file.path, content, "unknown"),
                members=(*file.members, f"tensor {number}"), budget=file.budget, siblings=file.siblings,
            )
        )  # fmt: skip
        file.budget.check_depth(len(inside.members))
        if inside.kind != "torch-legacy":
            found = None
            break
        result.findings.extend(read(inside, lambda other: Part((), Coverage(), other.kind)).findings)
    if found is None:
        result.findings.append(
            _finding(
                file.at(event.pos), "pickle-unlisted", Verdict.UNLISTED,
                f"this file carries another one for {printable('.'.join(_CARRIER))} that cannot be judged",
                why="torch loads these bytes as a checkpoint of their own, without limits",
                evidence=_evidence(event), subject=".".join(_CARRIER), help=_HELP,
            )
        )  # fmt: skip


def _persistent(file: ScannedFile, event: Event, result: Judgement, *, torch: bool) -> None:
    storage = storage_of(event.args or ()) if torch else None
    if torch and _is_class(event.args or ()):
        return  # torch.load takes the class itself, which is judged where it is named and called
    if storage is None:
        result.findings.append(
            _finding(
                file.at(event.pos), "pickle-persistent", Verdict.UNLISTED,
                "the pickle refers to an object outside of itself",
                why="what stands there is decided by the program that loads it",
                evidence=(_line(event.pos, event.opcode, _render(event.args)),), subject="persistent",
            )
        )  # fmt: skip
        return
    key, kind, numel = storage
    known = result.storages.setdefault(key, (kind, numel))
    if known != (kind, numel):
        result.findings.append(_broken(file, event.pos, "one storage is described in two ways", "storage"))


def _is_class(args: tuple[Arg, ...]) -> bool:
    """Tell whether a persistent id is that of a class with its source, ("module", class, path, source)."""
    kinds = tuple("str" if arg.kind == "none" else arg.kind for arg in args)
    return kinds == ("str", "global", "str", "str") and args[0].text == "module"


def storage_of(args: tuple[Arg, ...]) -> tuple[str, str, int] | None:
    """Read the persistent id of a torch storage, ("storage", type, key, location, numel[, view])."""
    kinds = tuple(arg.kind for arg in args)
    whole = (
        kinds[:2] == ("str", "global") and kinds[2:3] in (("str",), ("int",)) and kinds[3:5] == ("str", "int")
    )
    if not whole or kinds[5:] not in ((), ("none",), ("tuple",)):
        return None
    kind = args[1].text.rsplit(".", 1)[-1]
    if args[0].text != "storage" or kind not in names.STORAGE_WIDTHS:
        return None
    return args[2].text, kind, int(args[4].text or -1)


# Wording.


def _finding(
    location: Location, rule: str, verdict: Verdict, message: str, **details: str | tuple[str, ...]
) -> Finding:
    evidence = details.get("evidence", ())
    return Finding(
        rule=rule,
        verdict=verdict,
        severity=severity_of(verdict),
        location=location,
        message=message,
        why=str(details.get("why", "")),
        help=str(details.get("help", "")),
        evidence=evidence if isinstance(evidence, tuple) else (),
        subject=str(details.get("subject", "")),
    )


def _broken(file: ScannedFile, pos: int, reason: str, code: str) -> Finding:
    return _finding(
        file.at(pos), "pickle-broken", Verdict.BROKEN, f"this pickle is damaged or made by hand: {reason}",
        why="two loaders may read it in two ways, and what a scan sees need not be what loads",
        help="have it written anew by its author", subject=code,
    )  # fmt: skip


def _trailing(file: ScannedFile, pos: int, size: int) -> Finding:
    return _finding(
        file.at(pos), "pickle-trailing", Verdict.BROKEN, f"{size - pos} bytes after the pickle belong to nothing",
        why="bytes that no reader explains can be another file to another reader",
        help="have it written anew by its author", subject="trailing",
    )  # fmt: skip


def _unread(file: ScannedFile, pos: int, reason: str) -> Finding:
    return _finding(
        file.at(pos), "unread-budget", Verdict.UNREAD, f"this pickle was not read to its end: {reason}",
        why="what was not read cannot be called harmless", help="convert it to safetensors at its source",
        subject="pickle",
    )  # fmt: skip


_OPCHARS: Mapping[str, str] = {
    name: chr(code) if 32 < code < 127 else f"\\x{code:02x}" for name, code in CODES.items()
}


def _line(pos: int, opcode: str, text: str) -> str:
    return f"{pos:>6}: {_OPCHARS.get(opcode, '?'):<4} {opcode:<12} {text}"


def _evidence(event: Event) -> tuple[str, ...]:
    full = printable(f"{event.module}.{event.name}")
    lines = []
    if event.kind == "global" or event.name_pos != event.pos:
        lines.append(
            _line(event.name_pos, event.name_opcode, f"'{printable(event.module)} {printable(event.name)}'")
        )
    if event.kind != "global":
        lines.append(_line(event.pos, event.opcode, f"{full}{_render(event.args)}"))
    return tuple(lines)


def _render(args: tuple[Arg, ...] | None) -> str:
    if args is None:
        return "(…)"
    return f"({', '.join(_shown(args[:8]))}{', …' if len(args) > 8 else ''})"


def _shown(args: tuple[Arg, ...]) -> Iterator[str]:
    for arg in args:
        if arg.kind == "str":
            yield '"' + printable(arg.text, 80) + '"'
        elif arg.kind == "result":
            yield printable(arg.text) + "(…)"
        elif arg.text:
            yield printable(arg.text, 80)
        else:
            yield {"none": "None", "ints": "(…)", "tuple": "(…)", "list": "[…]", "dict": "{…}"}.get(
                arg.kind, "…"
            )
