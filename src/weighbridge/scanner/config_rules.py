"""Rules on configuration: JSON and YAML that name code to import, other repositories, or files outside the model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from types import NoneType
from typing import Any

from weighbridge.core.errors import OutOfBudget, Refused
from weighbridge.core.finding import Finding, Verdict
from weighbridge.formats.json_text import Place, looks_like_json, read_json, walk
from weighbridge.scanner.config_names import (
    ACTIVATION,
    CLASS_KEYS,
    DIFFUSERS_LIBRARIES,
    MLFLOW_LOADERS,
    PARENT_LIBRARY,
    SENTENCE_MODULES,
)
from weighbridge.scanner.file import RuleInfo, ScannedFile, printable, severity_of

RULES = (
    RuleInfo("config-code", "A configuration that has the model's own code run", Verdict.UNLISTED),
    RuleInfo(
        "config-foreign-code", "A configuration that has another repository's code run", Verdict.DANGEROUS
    ),
    RuleInfo("config-class", "A configuration that names a class nobody listed", Verdict.UNLISTED),
    RuleInfo("config-path", "A configuration that names a file outside the model", Verdict.DANGEROUS),
    RuleInfo("config-object", "A configuration whose reader would build Python objects", Verdict.DANGEROUS),
    RuleInfo("config-broken", "A configuration that two readers may read differently", Verdict.BROKEN),
    RuleInfo("config-unread", "A configuration too large or too deep to be read", Verdict.UNREAD),
)
EXPLAINS = frozenset({"json"})
READERS: tuple[str, ...] = ("json-strict 1", "yaml-nodes 1")
"""What counts into the ruleset digest beside the rules: readers and their versions."""

YAML_SUFFIXES = (".yaml", ".yml")
YAML_NAMES = frozenset({"mlmodel"})
MAX_YAML = 4 * 1024 * 1024
"""Characters of one YAML file: the reader takes about a second for a million."""

_FORM = ("config-broken", "config-unread")
_CORE_TAGS = re.compile(
    r"tag:yaml\.org,2002:(binary|bool|float|int|map|merge|null|omap|pairs|seq|set|str|timestamp|value)"
)
_REMOTE = "loading with trust_remote_code=True would import and run this code"
_IMPORT = "the library that loads this model imports what the configuration names"


def examine(file: ScannedFile) -> Iterable[Finding]:
    """Judge JSON by its keys wherever they stand, and YAML by its tags and keys."""
    if file.text is None:
        return
    if file.kind == "json":
        yield from _examine_json(file, file.text)
    elif file.name.endswith(YAML_SUFFIXES) or file.name in YAML_NAMES:
        yield from _examine_yaml(file, file.text)
    elif looks_like_json(file.text):
        # JSON under another name: whoever reads it as JSON gets what it asks for, nobody else can be misled.
        yield from (found for found in _examine_json(file, file.text) if found.rule not in _FORM)
    elif file.name.endswith(".md") and file.text.startswith("---"):
        yield from _examine_yaml(file, file.text[3:].split("\n---", 1)[0])


def _examine_json(file: ScannedFile, text: str) -> Iterator[Finding]:
    try:
        for place in walk(read_json(text)):
            yield from _judge(file, place)
    except Refused as refusal:
        yield _finding(
            file,
            "config-broken",
            Verdict.BROKEN,
            f"{refusal.problem}: {refusal.cause}",
            subject=refusal.check,
        )
    except OutOfBudget as spent:
        yield _finding(file, "config-unread", Verdict.UNREAD, spent.problem, subject=spent.check)


def _judge(file: ScannedFile, place: Place) -> Iterator[Finding]:
    """Judge one value by the key it stands under."""
    key = place.step if isinstance(place.step, str) else ""
    value = place.value
    if key == "auto_map":
        yield from _auto_map(file, place)
    elif key == "custom_pipelines" and value:
        yield _finding(
            file,
            "config-code",
            Verdict.UNLISTED,
            f"custom_pipelines names code: {value}",
            subject=place.pointer,
            why=_REMOTE,
        )
    elif isinstance(value, dict) and value.get("trust_remote_code"):
        yield _finding(file, "config-code", Verdict.UNLISTED, "the configuration itself asks to trust remote code", subject=f"{place.pointer}/trust_remote_code", why=_REMOTE)  # fmt: skip
    if key == "weight_map" and isinstance(value, dict):
        yield from _weight_map(file, place)
    elif key in ("_attn_implementation", "attn_implementation") and isinstance(value, str) and "/" in value:
        yield _finding(file, "config-foreign-code", Verdict.DANGEROUS, f"{key} names the kernel repository {value!r}", subject=place.pointer, why=_IMPORT)  # fmt: skip
    elif isinstance(value, str):
        yield from _class_name(file, place, key, value)
    if place.parent is None and file.name == "modules.json":
        yield from _modules(file, value)
    if place.parent is None and file.name == "model_index.json" and isinstance(value, dict):
        yield from _pipeline(file, value)


def _auto_map(file: ScannedFile, place: Place) -> Iterator[Finding]:
    """Tell the model's own modules from those of another repository (`org/name--module.Class`)."""
    for inner in walk((place.value,)):
        if not isinstance(inner.value, str):
            continue
        subject = f"{place.pointer}{inner.pointer}"
        if "--" in inner.value:
            repository = inner.value.split("--", 1)[0]
            yield _finding(
                file, "config-foreign-code", Verdict.DANGEROUS,
                f"auto_map names {inner.value!r}, code of the repository {repository!r}", subject=subject,
                why="the code is not part of this model: nothing here pins or hashes what would run",
            )  # fmt: skip
        else:
            yield _finding(
                file, "config-code", Verdict.UNLISTED,
                f"auto_map names the class {inner.value!r} in the model's own code", subject=subject, why=_REMOTE,
            )  # fmt: skip


def _weight_map(file: ScannedFile, place: Place) -> Iterator[Finding]:
    folder = file.path.rsplit("/", 1)[0] + "/" if "/" in file.path else ""
    named = {value if isinstance(value, str) else repr(value) for value in place.value.values()}
    for name in sorted(named):
        if _leaves(name):
            yield _finding(
                file, "config-path", Verdict.DANGEROUS, f"the shard index names {name!r}", subject=f"{place.pointer} {name}",
                why="a loader that follows it reads a file that is not part of this model",
            )  # fmt: skip
        elif file.siblings and folder + name not in file.siblings:
            yield _finding(
                file, "config-path", Verdict.NOTES, f"the shard index names {name!r}, which the model does not hold",
                subject=f"{place.pointer} {name}", why="the model cannot be loaded completely",
            )  # fmt: skip


def _leaves(name: str) -> bool:
    parts = name.replace("\\", "/").split("/")
    return (
        not name
        or name.startswith(("/", "~"))
        or ".." in parts
        or ":" in name
        or "\\" in name
        or "\0" in name
    )


def _class_name(file: ScannedFile, place: Place, key: str, value: str) -> Iterator[Finding]:
    """Judge keys whose value some library imports."""
    allowed = {
        "parent_library": PARENT_LIBRARY,
        "megatron_core": re.compile(r"megatron\.core"),
        "activation_function": ACTIVATION,
        "loader_module": MLFLOW_LOADERS,
    }.get(key)
    if key == "activation_function" and "." not in value:
        return
    if key in CLASS_KEYS or (allowed is not None and not allowed.fullmatch(value)):
        rule, verdict = (
            ("config-object", Verdict.DANGEROUS) if key == "py/reduce" else ("config-class", Verdict.UNLISTED)
        )
        yield _finding(
            file, rule, verdict, f"{key} names {value!r}", subject=f"{place.pointer} {value}", why=_IMPORT
        )


def _modules(file: ScannedFile, value: Any) -> Iterator[Finding]:
    """Judge a sentence-transformers module list: exact class names, paths inside the model."""
    rows = value if isinstance(value, list) else []
    for index, row in enumerate(rows):
        kind = row.get("type") if isinstance(row, dict) else None
        path = row.get("path") if isinstance(row, dict) else None
        if not isinstance(kind, str) or kind not in SENTENCE_MODULES:
            yield _finding(file, "config-class", Verdict.UNLISTED, f"module {index} is of the class {kind!r}", subject=f"/{index}/type {kind}", why=_IMPORT)  # fmt: skip
        if isinstance(path, str) and path and _leaves(path):
            yield _finding(file, "config-path", Verdict.DANGEROUS, f"module {index} lies at {path!r}", subject=f"/{index}/path {path}", why=_IMPORT)  # fmt: skip


def _pipeline(file: ScannedFile, value: dict[str, Any]) -> Iterator[Finding]:
    """Judge a diffusers index: each part is [library, class], the library must be listed."""
    for name, row in value.items():
        library = row[0] if isinstance(row, list) and row else None
        if not isinstance(library, (str, NoneType)) or library not in DIFFUSERS_LIBRARIES:
            yield _finding(file, "config-class", Verdict.UNLISTED, f"the part {name!r} comes from {library!r}", subject=f"/{name} {library}", why=_IMPORT)  # fmt: skip


def _examine_yaml(file: ScannedFile, text: str) -> Iterator[Finding]:
    import yaml

    if len(text) > MAX_YAML:
        yield _finding(
            file,
            "config-unread",
            Verdict.UNREAD,
            f"more than {MAX_YAML} characters of YAML",
            subject="yaml.budget",
        )
        return
    try:
        # Nodes only: nothing is constructed, so tags are read and never obeyed.
        for document in yaml.compose_all(text, Loader=yaml.SafeLoader):
            yield from _examine_node(file, document)
    except yaml.YAMLError as error:
        yield _finding(
            file, "config-broken", Verdict.BROKEN, f"this is not YAML: {error}", subject="yaml.syntax"
        )
    except RecursionError:
        yield _finding(
            file, "config-unread", Verdict.UNREAD, "the YAML is nested too deeply", subject="yaml.budget"
        )


def _examine_node(file: ScannedFile, document: Any) -> Iterator[Finding]:
    """Judge tags and keys; an alias leads to the same node again, which is visited once."""
    work: list[tuple[str, Any]] = [("", document)]
    seen: set[tuple[str, int]] = set()
    while work:
        key, node = work.pop()
        if node is None or (key, id(node)) in seen:
            continue
        seen.add((key, id(node)))
        if node.tag != "!" and not _CORE_TAGS.fullmatch(node.tag):
            yield _tag(file, node.tag)
        if isinstance(node.value, str):
            yield from _class_name(file, Place(None, key, node.value), key, node.value)
            continue
        for item in node.value:
            if isinstance(item, tuple):
                name = item[0].value if isinstance(item[0].value, str) else ""
                work += [("", item[0]), (name, item[1])]
            else:
                work.append((key, item))


def _tag(file: ScannedFile, tag: str) -> Finding:
    python = "python" in tag.lower()
    return _finding(
        file,
        "config-object" if python else "config-class",
        Verdict.DANGEROUS if python else Verdict.UNLISTED,
        f"the YAML tag {tag!r}",
        subject=f"tag {tag}",
        why="a YAML reader that obeys tags builds Python objects from it",
    )


def _finding(
    file: ScannedFile, rule: str, verdict: Verdict, message: str, *, subject: str, why: str = "two readers may disagree"
) -> Finding:  # fmt: skip
    return Finding(
        rule=rule,
        verdict=verdict,
        severity=severity_of(verdict),
        location=file.at(),
        message=printable(message, 300),
        why=why,
        help="use a model whose configuration is data only, or read the named code and accept it with a reason",
        subject=printable(subject, 300),
    )
