"""How the files say a model was made: merge recipes, training arguments, the state a trainer left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from weighbridge.bom.facts import MAX_ITEMS, Fact, is_text
from weighbridge.bom.reading import Reading
from weighbridge.core.lineage import Grade

MERGE_FILES = ("mergekit_config.yml", "mergekit_config.yaml")
TRAINING_FILES = ("training_args.json", "training_config.json")
STATE = "trainer_state.json"
ARGUMENTS = (
    "learning_rate", "num_train_epochs", "max_steps", "per_device_train_batch_size", "per_device_eval_batch_size",
    "gradient_accumulation_steps", "warmup_steps", "warmup_ratio", "weight_decay", "lr_scheduler_type", "optim", "seed",
    "data_seed", "bf16", "fp16", "tf32", "max_grad_norm", "adam_beta1", "adam_beta2", "adam_epsilon",
    "label_smoothing_factor", "gradient_checkpointing", "max_seq_length", "beta",
)  # fmt: skip
"""What is taken from training arguments: this list and nothing else, because tokens of services stand there too."""
STATES = (
    "epoch", "global_step", "max_steps", "num_train_epochs", "train_batch_size", "total_flos", "best_metric",
    "best_model_checkpoint",
)  # fmt: skip


def recipe_facts(reading: Reading) -> Iterator[Fact]:
    """Yield what merge recipes and trainers left at the top of the model, names prefixed `merge.` and `training:`."""
    for path in MERGE_FILES:
        yield from _merge(reading, path)
    for path in TRAINING_FILES:
        value = reading.object(path)
        chosen = {key: value[key] for key in ARGUMENTS if key in value}
        yield from reading.members("training", chosen, path, "")
    state = reading.object(STATE)
    yield from reading.members(
        "trainer_state", {key: state[key] for key in STATES if key in state}, STATE, ""
    )


def _merge(reading: Reading, path: str) -> Iterator[Fact]:
    value = reading.yaml_object(path)
    for key in ("merge_method", "base_model", "dtype", "tokenizer_source"):
        yield from reading.fact(
            f"merge.{key}", _name(value.get(key)), path, f"/{key}{_inner(value.get(key))}"
        )
    yield from reading.members("merge.parameters", value.get("parameters"), path, "/parameters")
    for name, pointer in _models(value):
        if is_text(name):
            yield Fact("merge.model", name, Grade.DECLARED, path, pointer)
        else:
            reading.miss(path, f"{pointer} is no short text")


def _models(value: Mapping[str, Any]) -> Iterator[tuple[Any, str]]:
    """Yield each model of a recipe with its pointer: `models`, and the sources of `slices`."""
    rows: list[tuple[Any, str]] = []
    for number, row in enumerate(_rows(value.get("models"))):
        rows.append((row, f"/models/{number}"))
    for number, layer in enumerate(_rows(value.get("slices"))):
        sources = layer.get("sources") if isinstance(layer, dict) else None
        rows += [(row, f"/slices/{number}/sources/{index}") for index, row in enumerate(_rows(sources))]
    for row, pointer in rows[:MAX_ITEMS]:
        if isinstance(row, dict) and "model" in row:
            yield _name(row["model"]), f"{pointer}/model{_inner(row['model'])}"


def _name(value: Any) -> Any:
    """Return the name of a model of a recipe, which may stand in `model.path` or directly."""
    model = value.get("model", value) if isinstance(value, dict) else value
    return model.get("path") if isinstance(model, dict) else model


def _inner(value: Any) -> str:
    if not isinstance(value, dict):
        return ""
    return ("/model" if "model" in value else "") + (
        "/path" if isinstance(value.get("model", value), dict) else ""
    )


def _rows(value: Any) -> list[Any]:
    return value[:MAX_ITEMS] if isinstance(value, list) else []
