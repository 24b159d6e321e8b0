"""Collect what a model's files say of it, each fact with its grade and the place it was read from."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from weighbridge.bom.card import CARD, card_facts
from weighbridge.bom.dependencies import declared_frameworks, requirements_of
from weighbridge.bom.facts import MAX_ITEMS, Fact, Facts, step
from weighbridge.bom.reading import OpenFile, Reading
from weighbridge.bom.recipe import recipe_facts
from weighbridge.bom.weights import weight_facts
from weighbridge.core.digest import Digest
from weighbridge.core.lineage import Grade
from weighbridge.core.manifest import FileEntry, Manifest

__all__ = ["Fact", "Facts", "OpenFile", "harvest"]

MAX_PARTS = 200
"""Folders of one model that are described as models of their own."""
MAX_TEMPLATES = 1000
CONFIG = "config.json"
ADAPTER = "adapter_config.json"
CONFIG_FIELDS = (
    "model_type", "architectures", "torch_dtype", "dtype", "hidden_size", "num_hidden_layers", "num_attention_heads",
    "vocab_size", "max_position_embeddings", "transformers_version", "_name_or_path", "_class_name",
    "_diffusers_version", "problem_type", "finetuning_task", "num_experts", "n_layer", "n_head", "n_embd",
)  # fmt: skip
ADAPTER_FIELDS = (
    "peft_type", "base_model_name_or_path", "revision", "task_type", "r", "lora_alpha", "target_modules", "peft_version",
)  # fmt: skip
TOKENIZER_FIELDS = ("tokenizer_class", "model_max_length", "processor_class", "image_processor_type")
TOKENIZER_FILES = frozenset({
    "added_tokens.json", "merges.txt", "sentencepiece.bpe.model", "special_tokens_map.json", "spiece.model",
    "tekken.json", "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json", "vocab.txt",
})  # fmt: skip
TEMPLATE_FILES = ("tokenizer_config.json", "chat_template.json", "processor_config.json")
LICENCE_NAMES = ("license", "licence", "use_policy", "notice", "copying")


def harvest(manifest: Manifest, open_file: OpenFile) -> Facts:
    """Read the facts of a model from its files only; a file that cannot be read is listed, never guessed at.

    `open_file` gives a seekable stream of a file's bytes. Raises nothing for bad content; errors of
    `open_file` itself pass through.
    """
    reading = Reading(manifest, open_file)
    parts = _parts(reading)
    facts: list[Fact] = []
    for part, entries in parts.items():
        facts += _facts_of(reading, part, entries)
    facts += recipe_facts(reading)
    facts = list(_not_too_many(reading, facts))
    requirements = [*declared_frameworks(reading, facts), *requirements_of(reading)]
    return Facts(
        tuple(facts),
        tuple(sorted(reading.unread)),
        tuple(requirements),
        tuple(part for part in parts if part),
    )


def _not_too_many(reading: Reading, facts: list[Fact]) -> Iterator[Fact]:
    """Yield the facts, at most MAX_ITEMS of one name and part: ten thousand licence texts say no more than a thousand."""
    seen: Counter[tuple[str, str]] = Counter()
    for fact in facts:
        seen[fact.name, fact.part] += 1
        if seen[fact.name, fact.part] <= MAX_ITEMS:
            yield fact
        elif seen[fact.name, fact.part] == MAX_ITEMS + 1:
            reading.miss(fact.path, f"more than {MAX_ITEMS} files or places give {fact.name}")


def _parts(reading: Reading) -> dict[str, list[FileEntry]]:
    """Return the files of the model and of each folder that is one of its own: it has a config, or an adapter's."""
    folders = sorted({
        entry.path.rpartition("/")[0]
        for entry in reading.manifest.files
        if "/" in entry.path and entry.path.rpartition("/")[2] in (CONFIG, ADAPTER)
    })  # fmt: skip
    if len(folders) > MAX_PARTS:
        reading.miss(folders[MAX_PARTS], f"more than {MAX_PARTS} folders are models of their own")
    known = set(folders[:MAX_PARTS])
    files: dict[str, list[FileEntry]] = defaultdict(list)
    files[""] = []
    for entry in reading.manifest.files:
        folder = entry.path.rpartition("/")[0]
        while folder and folder not in known:
            folder = folder.rpartition("/")[0]
        files[folder].append(entry)
    return dict(files)


def _facts_of(reading: Reading, part: str, entries: list[FileEntry]) -> Iterator[Fact]:
    """Yield the facts of the model, or of one of its parts."""
    at = f"{part}/" if part else ""
    yield from _config(reading, at + CONFIG, part)
    yield from card_facts(reading, at + CARD, part)
    yield from reading.chosen(
        reading.object(at + ADAPTER), ADAPTER_FIELDS, at + ADAPTER, prefix="adapter.", part=part
    )
    yield from weight_facts(reading, entries, part)
    yield from _tokenizer(reading, entries, part)
    for name in ("generation_config.json",):
        yield from reading.members("generation", reading.object(at + name), at + name, "", part)
    if not part:
        yield from _pipeline(reading)
    for entry in entries:
        name = entry.path.removeprefix(at)
        if "/" not in name and name.lower().startswith(LICENCE_NAMES):
            yield Fact("license_text", str(entry.sha256), Grade.OBSERVED, entry.path, part=part)
        elif name == "training_args.bin":  # a pickle: named by its digest, never read
            yield Fact("training_args", str(entry.sha256), Grade.OBSERVED, entry.path, part=part)


def _config(reading: Reading, path: str, part: str) -> Iterator[Fact]:
    """Yield what a config.json declares, with its quantization and the code it asks to be run."""
    value = reading.object(path)
    yield from reading.chosen(value, CONFIG_FIELDS, path, part=part)
    quantization = value.get("quantization_config")
    if isinstance(quantization, dict):
        pointer = "/quantization_config"
        yield from reading.fact(
            "quantization", quantization.get("quant_method"), path, f"{pointer}/quant_method", part
        )
        yield from reading.members("quantization_config", quantization, path, pointer, part)
    yield from reading.members("auto_map", value.get("auto_map"), path, "/auto_map", part)


def _tokenizer(reading: Reading, entries: list[FileEntry], part: str) -> Iterator[Fact]:
    """Yield the digests of tokenizer files and chat templates, and which class reads them."""
    templates = 0
    for entry in entries:
        name = entry.path.rpartition("/")[2]
        if name in TOKENIZER_FILES:
            yield Fact("tokenizer", str(entry.sha256), Grade.OBSERVED, entry.path, part=part)
        if name in TEMPLATE_FILES:
            value = reading.object(entry.path)
            if name == "tokenizer_config.json":
                yield from reading.chosen(_bounded(value), TOKENIZER_FIELDS, entry.path, part=part)
                yield from reading.members("auto_map", value.get("auto_map"), entry.path, "/auto_map", part)
            for pointer, template in _templates(value.get("chat_template")):
                templates += 1
                if templates > MAX_TEMPLATES:
                    reading.miss(entry.path, f"more than {MAX_TEMPLATES} chat templates")
                    return
                digest = Digest.of(template.encode("utf-8", "surrogatepass"))
                yield Fact(
                    "chat_template", str(digest), Grade.OBSERVED, entry.path, f"/chat_template{pointer}", part
                )
        elif name.endswith(".jinja"):
            yield Fact("chat_template", str(entry.sha256), Grade.OBSERVED, entry.path, part=part)


def _bounded(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """Leave out the number that stands for "no limit": transformers writes 10**30 there."""
    longest = value.get("model_max_length")
    return (
        {**value, "model_max_length": None}
        if isinstance(longest, (int, float)) and longest >= 10**15
        else value
    )


def _pipeline(reading: Reading) -> Iterator[Fact]:
    """Yield the parts that model_index.json (diffusers) or modules.json (sentence-transformers) name."""
    index = reading.object("model_index.json")
    yield from reading.chosen(index, ("_class_name", "_diffusers_version"), "model_index.json")
    named = {
        key: value for key, value in index.items() if isinstance(value, list) and not key.startswith("_")
    }
    yield from reading.members("pipeline", named, "model_index.json", "")
    modules = reading.value("modules.json")
    for number, row in enumerate(modules[:MAX_PARTS] if isinstance(modules, list) else ()):
        if isinstance(row, dict):
            yield from reading.fact("module", row.get("type"), "modules.json", f"/{number}/type")
    path = "config_sentence_transformers.json"
    value = reading.object(path)
    yield from reading.members("prompts", value.get("prompts"), path, "/prompts")
    yield from reading.chosen(value, ("similarity_fn_name", "default_prompt_name"), path)


def _templates(value: Any) -> Iterator[tuple[str, str]]:
    """Yield (pointer, template) of a `chat_template` value: a string, or named ones."""
    if isinstance(value, str):
        yield "", value
    elif isinstance(value, list):
        for index, row in enumerate(value):
            if isinstance(row, dict) and isinstance(row.get("template"), str):
                yield f"/{index}/template", row["template"]
    elif isinstance(value, dict):
        for name in sorted(value):
            if isinstance(value[name], str):
                yield step(json.dumps(name)[1:-1]), value[name]
