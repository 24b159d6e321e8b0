"""What the headers of weight files say: how many parameters of which type, the metadata of GGUF and safetensors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from weighbridge.bom.facts import Fact, is_text, step
from weighbridge.bom.reading import Reading
from weighbridge.core.canonical import JSON
from weighbridge.core.digest import Digest
from weighbridge.core.errors import CannotTell, Refused
from weighbridge.core.lineage import Grade
from weighbridge.core.manifest import FileEntry
from weighbridge.formats.gguf import NAMES, Gguf, read_gguf
from weighbridge.formats.safetensors import SafetensorsHeader, parse_header

HEADER = 1024 * 1024
"""Bytes that one header counts against the budget."""
GGUF_TEXTS = {
    "general.architecture": "model_type",
    "general.name": "name",
    "general.basename": "basename",
    "general.finetune": "finetune",
    "general.size_label": "size_label",
    "general.author": "author",
    "general.organization": "organization",
    "general.quantized_by": "quantized_by",
    "general.description": "description",
    "general.license": "license",
    "general.license.name": "license_name",
    "general.license.link": "license_link",
    "tokenizer.ggml.model": "tokenizer_model",
    "tokenizer.ggml.pre": "tokenizer_pre",
}
"""Keys of the GGUF specification (ggml, docs/gguf.md, standardized key-value pairs) and the facts they are."""
FILE_TYPES: Mapping[int, str] = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M",
    13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS",
    21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S",
    29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4_MOE",
}  # fmt: skip
"""`general.file_type` to what llama.cpp calls a file that is mostly of that type (llama.h, enum llama_ftype)."""
GGUF_SIZES = ("context_length", "embedding_length", "block_count", "attention.head_count", "expert_count")
SPEC_KEYS = ("title", "architecture", "implementation", "author", "license", "description", "hash_sha256")
"""Keys of the ModelSpec that image models carry in the metadata of safetensors."""


def weight_facts(reading: Reading, entries: Sequence[FileEntry], part: str = "") -> Iterator[Fact]:
    """Yield the facts of the weight files of one part; a total only when no tensor stands twice."""
    tensors = [entry for entry in entries if entry.path.endswith(".safetensors")]
    ggufs = [entry for entry in entries if entry.path.endswith(".gguf")]
    yield from _safetensors(reading, tensors, part)
    for entry in ggufs:
        yield from _gguf(reading, entry, part, alone=not tensors and len(ggufs) == 1)


def _safetensors(reading: Reading, entries: Sequence[FileEntry], part: str) -> Iterator[Fact]:
    names: Counter[str] = Counter()
    dtypes: Counter[str] = Counter()
    for entry in entries:
        header = _header(reading, entry)
        if header is None:
            return
        yield Fact("tensors", len(header.tensors), Grade.OBSERVED, entry.path, part=part)
        names.update(tensor.name for tensor in header.tensors)
        for tensor in header.tensors:
            dtypes[tensor.dtype] += tensor.elements
        for key in SPEC_KEYS:
            name = f"modelspec.{key}"
            yield from reading.fact(
                name, header.metadata.get(name), entry.path, f"/__metadata__/{name}", part
            )
    if entries and max(names.values(), default=0) <= 1:
        where = entries[0].path if len(entries) == 1 else f"{part}/*.safetensors".lstrip("/")
        yield from _counts("", dtypes, where, part)


def _counts(prefix: str, dtypes: Mapping[str, int], where: str, part: str) -> Iterator[Fact]:
    yield Fact(f"{prefix}parameters", str(sum(dtypes.values())), Grade.OBSERVED, where, part=part)
    counts: dict[str, JSON] = {dtype: str(dtypes[dtype]) for dtype in sorted(dtypes)}
    yield Fact(f"{prefix}dtypes", counts, Grade.OBSERVED, where, part=part)


def _header(reading: Reading, entry: FileEntry) -> SafetensorsHeader | None:
    if not reading.may_open(entry, min(entry.size, HEADER)):
        return None
    with reading.open_file(entry) as stream:

        def read(offset: int, length: int) -> bytes:
            stream.seek(offset)
            return stream.read(length)

        try:
            return parse_header(read, entry.size)
        except (Refused, CannotTell) as refusal:
            reading.miss(entry.path, refusal.problem)
            return None


def _gguf(reading: Reading, entry: FileEntry, part: str, *, alone: bool) -> Iterator[Fact]:
    """Yield what one GGUF file says; parameters and types are those of the model when it is the only weight file."""
    if not reading.may_open(entry, min(entry.size, HEADER)):
        return
    with reading.open_file(entry) as stream:
        try:
            model = read_gguf(stream, entry.size)
        except (Refused, CannotTell) as refusal:
            reading.miss(entry.path, refusal.problem)
            return
    yield Fact("tensors", model.tensors, Grade.OBSERVED, entry.path, part=part)
    if not model.unknown_types:
        counted = {NAMES.get(kind, str(kind)): count for kind, count in model.elements.items()}
        yield from _counts("" if alone else "gguf.", counted, entry.path, part)
    yield from _metadata(reading, model, entry.path, part)


def _metadata(reading: Reading, model: Gguf, path: str, part: str) -> Iterator[Fact]:
    texts: dict[str, str] = {}
    for key, raw in model.texts:
        if "chat_template" in key:
            yield Fact("chat_template", str(Digest.of(raw)), Grade.OBSERVED, path, step(key), part)
            continue
        try:
            texts[key] = raw.decode("utf-8")
        except UnicodeDecodeError:
            reading.miss(path, f"{step(key)[:80]} is not UTF-8")
    for key, name in GGUF_TEXTS.items():
        if texts.get(key) and (is_text(texts[key]) or name != "description"):
            yield from reading.fact(name, texts[key], path, step(key), part)
    kind = FILE_TYPES.get(model.numbers.get("general.file_type", -1))
    if kind is not None:
        yield Fact("file_type", kind, Grade.DECLARED, path, "/general.file_type", part)
    architecture = texts.get("general.architecture", "")
    for key in GGUF_SIZES:
        yield from reading.fact(key, model.numbers.get(f"{architecture}.{key}"), path, step(f"{architecture}.{key}"), part)  # fmt: skip
    for index in range(min(model.numbers.get("general.base_model.count", 0), 64)):
        stem = f"general.base_model.{index}"
        title, owner = texts.get(f"{stem}.name"), texts.get(f"{stem}.organization")
        link = texts.get(f"{stem}.repo_url", "")
        found: str | None = _repository(link) or (f"{owner}/{title}" if title and owner else title)
        where = f"{stem}.repo_url" if _repository(link) else f"{stem}.name"
        yield from reading.fact("gguf.base_model", found, path, step(where), part)


def _repository(link: str) -> str:
    """Return `org/name` of a link to a hub's repository, or an empty string."""
    for head in ("https://huggingface.co/", "https://hf.co/"):
        if link.startswith(head):
            parts = link.removeprefix(head).strip("/").split("/")
            return "/".join(parts[:2]) if len(parts) >= 2 and all(parts[:2]) else ""
    return ""
