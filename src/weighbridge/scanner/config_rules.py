"""Rules on configuration: JSON and YAML that name code to import, other repositories, or files outside the model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from weighbridge.core.errors import OutOfBudget, Refused
from weighbridge.core.finding import Finding, Verdict
from weighbridge.formats.json_text import Place, looks_like_json, read_json, walk
from weighbridge.scanner.config_files import judge_file
from weighbridge.scanner.config_values import WHY_IMPORT, Remark, leaves, named
from weighbridge.scanner.config_yaml import judge_yaml, looks_like_yaml
from weighbridge.scanner.file import RuleInfo, ScannedFile, printable, severity_of

RULES = (
    RuleInfo("config-code", "A configuration that has the model's own code run", Verdict.UNLISTED),
    RuleInfo(
        "config-foreign-code", "A configuration that has another repository's code run", Verdict.DANGEROUS
    ),
    RuleInfo("config-class", "A configuration that names a class nobody listed", Verdict.UNLISTED),
    RuleInfo("config-path", "A configuration that names a file outside the model", Verdict.DANGEROUS),
    RuleInfo("config-object", "A configuration whose reader would build Python objects", Verdict.DANGEROUS),
    RuleInfo("config-unpinned", "A configuration that names another model without a revision", Verdict.NOTES),
    RuleInfo("config-broken", "A configuration that two readers may read differently", Verdict.BROKEN),
    RuleInfo("config-unread", "A configuration too large or too deep to be read", Verdict.UNREAD),
)
EXPLAINS = frozenset({"json"})

YAML_SUFFIXES = (".yaml", ".yml")
YAML_NAMES = frozenset({"mlmodel"})
CARD_SUFFIXES = (".md", ".mdx", ".markdown")
_FORM = ("config-broken", "config-unread")
_REMOTE = "loading with trust_remote_code=True would import and run this code"


def examine(file: ScannedFile) -> Iterable[Finding]:
    """Judge JSON by its keys wherever they stand, and YAML by its tags and keys."""
    if file.text is None:
        return
    if file.kind == "json":
        yield from _examine_json(file, file.text)
    elif file.name.endswith(YAML_SUFFIXES) or file.name in YAML_NAMES:
        yield from _examine_yaml(file, file.text)
    elif file.name.endswith(CARD_SUFFIXES):
        if file.text.removeprefix("\ufeff").startswith("---"):
            yield from _front_matter(file, file.text.removeprefix("\ufeff")[3:])
    elif looks_like_json(file.text):
        # JSON under another name: whoever reads it as JSON gets what it asks for, nobody else can be misled.
        found = _examine_json(file, file.text)
        yield from (one for one in found if one.rule not in _FORM or one.subject == "json.duplicate")
    elif file.kind == "text" and looks_like_yaml(file.text):
        yield from _examine_yaml(file, file.text, form=False)


def _examine_json(file: ScannedFile, text: str) -> Iterator[Finding]:
    try:
        for place in walk(read_json(text), list_texts=False):
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
        yield _finding(file, "config-foreign-code", Verdict.DANGEROUS, f"{key} names the kernel repository {value!r}", subject=place.pointer, why=WHY_IMPORT)  # fmt: skip
    elif isinstance(value, str):
        yield from _class_names(file, place, key, value)
    if place.parent is None:
        for remark in judge_file(file.name, value):
            yield _of_remark(file, remark)


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
        if leaves(name):
            yield _finding(
                file, "config-path", Verdict.DANGEROUS, f"the shard index names {name!r}", subject=f"{place.pointer} {name}",
                why="a loader that follows it reads a file that is not part of this model",
            )  # fmt: skip
        elif file.siblings and folder + name not in file.siblings:
            yield _finding(
                file, "config-path", Verdict.NOTES, f"the shard index names {name!r}, which the model does not hold",
                subject=f"{place.pointer} {name}", why="the model cannot be loaded completely",
            )  # fmt: skip


def _class_names(file: ScannedFile, place: Place, key: str, value: str) -> Iterator[Finding]:
    """Judge keys whose value some library imports."""
    beside = place.parent.value if place.parent is not None and isinstance(place.parent.value, dict) else {}
    for remark in named(key, value, beside.keys()):
        yield _of_remark(file, remark, place.pointer)


def _examine_yaml(file: ScannedFile, text: str, *, form: bool = True) -> Iterator[Finding]:
    """Judge YAML; where nobody promised YAML, `form` is false and a text that is none says nothing."""
    for remark in judge_yaml(text, mlmodel=file.name in YAML_NAMES):
        if form or remark.rule not in _FORM:
            yield _of_remark(file, remark)


def _front_matter(file: ScannedFile, text: str) -> Iterator[Finding]:
    """Judge the YAML that opens a model card; a card is shown, not loaded, so that its form is no more than a note."""
    for remark in judge_yaml(text.split("\n---", 1)[0]):
        kept = remark if remark.rule not in _FORM else replace(remark, verdict=Verdict.NOTES)
        yield _of_remark(file, kept)


def _of_remark(file: ScannedFile, remark: Remark, pointer: str = "") -> Finding:
    subject = f"{pointer} {remark.subject}".strip()
    return _finding(file, remark.rule, remark.verdict, remark.message, subject=subject, why=remark.why)


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
