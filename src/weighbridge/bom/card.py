"""What a model card declares: origin, licence, data, results in its front matter, uses and limits in its standard sections."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

from weighbridge.bom.facts import MAX_ITEMS, Fact, is_text, scalar
from weighbridge.bom.front_matter import read_front_matter
from weighbridge.bom.reading import Reading
from weighbridge.core.canonical import JSON
from weighbridge.core.errors import CannotTell, Refused
from weighbridge.core.lineage import Grade

CARD = "README.md"
FIELDS = (
    "license", "license_name", "license_link", "base_model", "base_model_relation", "datasets", "language", "tags",
    "pipeline_tag", "library_name", "metrics", "model_name", "model_creator", "quantized_by",
)  # fmt: skip
SECTIONS = {
    "direct use": "use_case",
    "downstream use": "use_case",
    "intended use": "use_case",
    "intended uses": "use_case",
    "intended uses & limitations": "use_case",
    "out-of-scope use": "limitation",
    "limitations": "limitation",
    "known limitations": "limitation",
    "bias, risks, and limitations": "limitation",
}
"""Headings of the hub's model card template, and what stands under them; other headings are not interpreted."""
MAX_SECTION = 2000
"""Characters of one section that are quoted; a longer one is cut, and ends in an ellipsis."""
MAX_SECTIONS = 50
EMISSIONS = ("emissions", "source", "training_type", "geographical_location", "hardware_used")


PLACEHOLDERS = frozenset({"more information needed", "needs more information", "todo", "tbd", "n/a", "none"})
_HEADING = re.compile(r" {0,3}#{1,6}[ \t]+(.{1,200})")


def card_facts(reading: Reading, path: str = CARD, part: str = "") -> Iterator[Fact]:
    """Yield what the front matter of one card declares; a card that cannot be read is noted."""
    data = reading.content(path)
    if data is None:
        return
    yield from _sections(reading, data, path, part)
    try:
        values = read_front_matter(data)
    except (Refused, CannotTell) as error:
        reading.miss(path, error.problem)
        return
    yield from reading.chosen(values, FIELDS, path, part=part)
    emitted = values.get("co2_eq_emissions")
    if isinstance(emitted, dict):
        chosen = {key: emitted[key] for key in EMISSIONS if key in emitted}
        yield from reading.members("co2_eq_emissions", chosen, path, "/co2_eq_emissions", part)
    yield from _results(reading, values.get("model-index"), path, part)


def _sections(reading: Reading, data: bytes, path: str, part: str) -> Iterator[Fact]:
    """Quote what stands under standard headings, with its lines (RFC 5147: `line=10,12` is the eleventh and twelfth)."""
    lines = data.decode("utf-8", "replace").splitlines()
    marks = [*_headings(lines), (len(lines), "")]
    found = 0
    for (start, title), (end, _) in pairwise(marks):
        name = SECTIONS.get(title)
        text = " ".join(_uncommented("\n".join(lines[start + 1 : end])).split()) if name else ""
        if not name or not text or text.strip("[]().").lower() in PLACEHOLDERS:
            continue
        found += 1
        if found > MAX_SECTIONS or not text.isprintable() or "\ufffd" in text:
            reading.miss(path, f"the section {title!r} cannot be quoted")
            continue
        quoted = text if len(text) <= MAX_SECTION else f"{text[:MAX_SECTION]}…"
        yield Fact(name, quoted, Grade.DECLARED, path, f"line={start + 1},{end}", part)


def _uncommented(text: str) -> str:
    """Return a text without HTML comments; an open one hides the rest."""
    shown, *hidden = text.split("<!--")
    return " ".join([shown, *(piece.partition("-->")[2] for piece in hidden)])


def _headings(lines: list[str]) -> Iterator[tuple[int, str]]:
    """Yield line and title of each heading that does not stand in a fenced block."""
    fenced = False
    for number, line in enumerate(lines):
        if line.lstrip().startswith(("```", "~~~")):
            fenced = not fenced
        match = None if fenced else _HEADING.match(line)
        if match:
            yield number, match[1].replace("[optional]", "").strip(" #:*").lower()


def _results(reading: Reading, index: Any, path: str, part: str) -> Iterator[Fact]:
    """Yield one fact for each metric of a `model-index`: type, value, what it was measured on."""
    count = 0
    for m, model in enumerate(_list(index)):
        for r, result in enumerate(_list(_member(model, "results"))):
            for k, metric in enumerate(_list(_member(result, "metrics"))):
                count += 1
                if count > MAX_ITEMS:
                    reading.miss(path, f"more than {MAX_ITEMS} evaluation results")
                    return
                pointer = f"/model-index/{m}/results/{r}/metrics/{k}"
                row = _metric(metric, result)
                if row is None:
                    reading.miss(path, f"{pointer} is not a metric with a type and a plain value")
                    continue
                yield Fact("metric", row, Grade.DECLARED, path, pointer, part)


def _metric(metric: Any, result: Any) -> dict[str, JSON] | None:
    """Return type, value and slice of a metric; None when type or value are missing."""
    kind, value = scalar(_member(metric, "type")), scalar(_member(metric, "value"))
    if not kind or value is None:
        return None
    row: dict[str, JSON] = {"type": kind, "value": value}
    dataset, task = _member(result, "dataset"), _member(result, "task")
    words = [_member(dataset, key) for key in ("name", "config", "split")]
    measured = ", ".join(word for word in words if is_text(word))
    if not measured and is_text(_member(dataset, "type")):
        measured = str(_member(dataset, "type"))
    if is_text(_member(task, "type")):
        measured = f"{measured} ({_member(task, 'type')})" if measured else str(_member(task, "type"))
    return {**row, "slice": measured} if measured else row


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _member(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, Mapping) else None
