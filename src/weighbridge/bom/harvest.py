"""Collect what a model's files say of it, each fact with its grade and the place it was read from."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from weighbridge.bom.front_matter import read_front_matter
from weighbridge.core.canonical import JSON
from weighbridge.core.digest import Digest
from weighbridge.core.errors import CannotTell, Refused
from weighbridge.core.lineage import Grade
from weighbridge.core.manifest import FileEntry, Manifest
from weighbridge.formats.json_text import read_json
from weighbridge.formats.safetensors import SafetensorsHeader, parse_header

MAX_JSON = 16 * 1024 * 1024
"""Bytes of one configuration file; tokenizers are digested, not parsed."""
MAX_TEXT = 512
"""Characters of one fact."""
MAX_ITEMS = 1000

OpenFile = Callable[[FileEntry], BinaryIO]

CONFIG_FIELDS = (
    "model_type", "architectures", "torch_dtype", "dtype", "hidden_size", "num_hidden_layers", "num_attention_heads",
    "vocab_size", "max_position_embeddings", "transformers_version",
)  # fmt: skip
ADAPTER_FIELDS = ("peft_type", "base_model_name_or_path", "revision", "task_type", "r", "lora_alpha")
CARD_FIELDS = (
    "license", "license_name", "license_link", "base_model", "base_model_relation", "datasets", "language", "tags",
    "pipeline_tag", "library_name",
)  # fmt: skip
TOKENIZER_FILES = frozenset({
    "added_tokens.json", "merges.txt", "sentencepiece.bpe.model", "special_tokens_map.json", "spiece.model",
    "tekken.json", "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json", "vocab.txt",
})  # fmt: skip
TEMPLATE_FILES = ("tokenizer_config.json", "chat_template.json", "processor_config.json")
LICENCE_NAMES = ("license", "licence", "use_policy", "notice", "copying")


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing a file says: name, value, observed or declared, the file, and the JSON pointer in it."""

    name: str
    value: JSON
    grade: Grade
    path: str
    pointer: str = ""

    @property
    def place(self) -> str:
        """The file, and after '#' the place in it."""
        return f"{self.path}#{self.pointer}" if self.pointer else self.path

    def to_json(self) -> dict[str, JSON]:
        """Return the fact as JSON."""
        return {"name": self.name, "value": self.value, "grade": self.grade.value, "place": self.place}


@dataclass(frozen=True, slots=True)
class Facts:
    """All facts of one model, in a fixed order, and the files that could not be read, each with the reason."""

    facts: tuple[Fact, ...]
    unread: tuple[tuple[str, str], ...] = ()

    def get(self, name: str) -> Fact | None:
        """Return the first fact of that name, or None."""
        return next((fact for fact in self.facts if fact.name == name), None)

    def every(self, name: str) -> tuple[Fact, ...]:
        """Return all facts of that name."""
        return tuple(fact for fact in self.facts if fact.name == name)

    def texts(self, name: str) -> tuple[str, ...]:
        """Return the values of a fact that is a string or a list of strings."""
        found = self.get(name)
        if found is None:
            return ()
        values = found.value if isinstance(found.value, (list, tuple)) else [found.value]
        return tuple(value for value in values if isinstance(value, str))

    def to_json(self) -> dict[str, JSON]:
        """Return the facts as JSON."""
        unread: list[JSON] = [{"path": path, "reason": reason} for path, reason in self.unread]
        return {"facts": [fact.to_json() for fact in self.facts], "unread": unread}


def harvest(manifest: Manifest, open_file: OpenFile) -> Facts:
    """Read the facts of a model from its files only; a file that cannot be read is listed, never guessed at.

    `open_file` gives a seekable stream of a file's bytes. Raises nothing for bad content; errors of
    `open_file` itself pass through.
    """
    reading = _Reading(manifest, open_file)
    facts = [
        *reading.config(),
        *reading.card(),
        *reading.adapter(),
        *reading.weights(),
        *reading.tokenizer(),
        *reading.licence_texts(),
    ]
    return Facts(tuple(facts), tuple(sorted(reading.unread)))


class _Reading:
    """One pass over the files of one model."""

    def __init__(self, manifest: Manifest, open_file: OpenFile) -> None:
        self.manifest = manifest
        self.open_file = open_file
        self.unread: set[tuple[str, str]] = set()

    def config(self) -> Iterator[Fact]:
        """Read what config.json declares."""
        yield from self._fields("config.json", "", CONFIG_FIELDS)
        value = self._object("config.json")
        quantization = value.get("quantization_config")
        if isinstance(quantization, dict):
            yield from self._fact("quantization", quantization.get("quant_method"), "config.json", "/quantization_config/quant_method")  # fmt: skip

    def adapter(self) -> Iterator[Fact]:
        """Read what adapter_config.json declares, its names prefixed with `adapter.`."""
        yield from self._fields("adapter_config.json", "adapter.", ADAPTER_FIELDS)

    def card(self) -> Iterator[Fact]:
        """Read the front matter of README.md."""
        data = self._bytes("README.md")
        if data is None:
            return
        try:
            values = read_front_matter(data)
        except (Refused, CannotTell) as error:
            self.unread.add(("README.md", error.problem))
            return
        for name in CARD_FIELDS:
            yield from self._fact(name, values.get(name), "README.md", f"/{name}")

    def weights(self) -> Iterator[Fact]:
        """Count parameters and dtypes in safetensors headers; a total only when no tensor stands twice."""
        names: Counter[str] = Counter()
        dtypes: Counter[str] = Counter()
        read = 0
        for entry in self.manifest.files:
            if not entry.path.endswith(".safetensors"):
                continue
            header = self._header(entry)
            if header is None:
                return
            read += 1
            yield Fact("tensors", len(header.tensors), Grade.OBSERVED, entry.path)
            names.update(tensor.name for tensor in header.tensors)
            for tensor in header.tensors:
                dtypes[tensor.dtype] += tensor.elements
        if read and max(names.values(), default=0) <= 1:
            where = "*.safetensors"
            yield Fact("parameters", str(sum(dtypes.values())), Grade.OBSERVED, where)
            counts: dict[str, JSON] = {dtype: str(dtypes[dtype]) for dtype in sorted(dtypes)}
            yield Fact("dtypes", counts, Grade.OBSERVED, where)

    def tokenizer(self) -> Iterator[Fact]:
        """Digest tokenizer files and chat templates, wherever the model keeps them."""
        for entry in self.manifest.files:
            if entry.path in TOKENIZER_FILES:
                yield Fact("tokenizer", str(entry.sha256), Grade.OBSERVED, entry.path)
        for path in TEMPLATE_FILES:
            for pointer, template in _templates(self._object(path).get("chat_template")):
                digest = Digest.of(template.encode("utf-8", "surrogatepass"))
                yield Fact("chat_template", str(digest), Grade.OBSERVED, path, f"/chat_template{pointer}")
        for entry in self.manifest.files:
            if entry.path.endswith(".jinja"):
                yield Fact("chat_template", str(entry.sha256), Grade.OBSERVED, entry.path)

    def licence_texts(self) -> Iterator[Fact]:
        """Name the digest of each licence text at the top of the model: the text decides over the tag."""
        for entry in self.manifest.files:
            if "/" not in entry.path and entry.path.lower().startswith(LICENCE_NAMES):
                yield Fact("license_text", str(entry.sha256), Grade.OBSERVED, entry.path)

    def _header(self, entry: FileEntry) -> SafetensorsHeader | None:
        with self.open_file(entry) as stream:

            def read(offset: int, length: int) -> bytes:
                stream.seek(offset)
                return stream.read(length)

            try:
                return parse_header(read, entry.size)
            except Refused as refusal:
                self.unread.add((entry.path, refusal.problem))
                return None

    def _fields(self, path: str, prefix: str, names: tuple[str, ...]) -> Iterator[Fact]:
        value = self._object(path)
        for name in names:
            yield from self._fact(prefix + name, value.get(name), path, f"/{name}")

    def _fact(self, name: str, value: Any, path: str, pointer: str) -> Iterator[Fact]:
        """Yield a declared fact when the value is a plain string, number or list of strings of sane size."""
        if value is None:
            return
        if isinstance(value, list) and len(value) <= MAX_ITEMS and all(_is_text(item) for item in value):
            yield Fact(name, list(value), Grade.DECLARED, path, pointer)
        elif _is_text(value) or (type(value) is int and abs(value) < 2**53):
            yield Fact(name, value, Grade.DECLARED, path, pointer)
        else:
            self.unread.add((path, f"{pointer} is not a short text, number or list of texts"))

    def _object(self, path: str) -> Mapping[str, Any]:
        data = self._bytes(path)
        if data is None:
            return {}
        try:
            value = read_json(data.decode("utf-8"))[0]
        except (Refused, CannotTell) as error:
            self.unread.add((path, error.problem))
            return {}
        except UnicodeDecodeError:
            self.unread.add((path, "this is not UTF-8"))
            return {}
        if not isinstance(value, dict):
            self.unread.add((path, "this is not a JSON object"))
            return {}
        return value

    def _bytes(self, path: str) -> bytes | None:
        entry = self.manifest.entry(path)
        if entry is None:
            return None
        if entry.size > MAX_JSON:
            self.unread.add((path, f"larger than {MAX_JSON} bytes"))
            return None
        with self.open_file(entry) as stream:
            return stream.read(entry.size)


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
                yield f"/{json.dumps(name)[1:-1]}", value[name]


def _is_text(value: Any) -> bool:
    """Whether `value` is a string that may stand in a document: short, printable, no lone surrogates."""
    return isinstance(value, str) and 0 < len(value) <= MAX_TEXT and value.isprintable()
