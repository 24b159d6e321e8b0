"""What the front matter of a model card declares: origin, licence, data, evaluation results, identifiers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
EMISSIONS = ("emissions", "source", "training_type", "geographical_location", "hardware_used")


def card_facts(reading: Reading, path: str = CARD, part: str = "") -> Iterator[Fact]:
    """Yield what the front matter of one card declares; a card that cannot be read is noted."""
    data = reading.content(path)
    if data is None:
        return
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
