"""Judge YAML by its tags and keys: the nodes are read, nothing is constructed, so no tag is ever obeyed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from weighbridge.core.errors import OutOfBudget, Refused
from weighbridge.core.finding import Verdict
from weighbridge.scanner.config_values import WHY_CODE, WHY_IMPORT, Remark, leaves, named

_CORE_TAGS = re.compile(
    r"tag:yaml\.org,2002:(binary|bool|float|int|map|merge|null|omap|pairs|seq|set|str|timestamp|value)"
)
_LOOKS = re.compile(
    r"!!?python[/.]|tag:yaml\.org,2002:python|^[ \t]*(?:-[ \t]+)?[\"']?(?:_target_|class_path|_component_|loader_module)[\"']?[ \t]*:",
    re.MULTILINE,
)
_PATH_KEYS = frozenset({
    "artifact_path", "conda", "data", "env", "input_example_path", "model_data", "model_path", "path", "pickled_model",
    "python_model", "saved_input_example_info", "virtualenv",
})  # fmt: skip
"""Keys of an MLmodel file whose values are files below its folder."""
_NOT_BELOW = frozenset({"artifact_path"})
"""Keys that may hold the address of an MLflow server instead."""


def looks_like_yaml(text: str) -> bool:
    """Tell whether a text of any name holds a key or tag that a YAML reader would act upon."""
    return _LOOKS.search(text) is not None


def judge_yaml(text: str, *, mlmodel: bool = False) -> Iterator[Remark]:
    """Yield what is to be said of the tags and keys of YAML text, and last of its form."""
    from weighbridge.formats.yaml_text import documents, nodes

    try:
        for document in documents(text):
            for key, node, siblings in nodes(document):
                yield from _node(key, node, siblings, mlmodel=mlmodel)
    except Refused as refusal:
        why = "two readers may disagree"
        message = f"{refusal.problem}: {refusal.cause}"
        yield Remark("config-broken", Verdict.BROKEN, message, refusal.check, why)
    except OutOfBudget as spent:
        why = "what was not read may hold anything"
        yield Remark("config-unread", Verdict.UNREAD, spent.problem, spent.check, why)


def texts_of(text: str) -> Iterator[tuple[str, str]]:
    """Yield the key and the text of each value of YAML text; what is no YAML yields nothing more."""
    from weighbridge.formats.yaml_text import documents, nodes

    try:
        for document in documents(text):
            for key, node, _ in nodes(document):
                if isinstance(node.value, str):
                    yield key, node.value
    except (Refused, OutOfBudget):
        return  # the configuration rules say so


def _node(key: str, node: Any, siblings: frozenset[str], *, mlmodel: bool) -> Iterator[Remark]:
    if node.tag != "!" and not _CORE_TAGS.fullmatch(node.tag):
        yield _tag(node.tag)
    if isinstance(node.value, str):
        yield from named(key, node.value, siblings)
        if mlmodel:
            yield from _path(key, node.value)


def _path(key: str, value: str) -> Iterator[Remark]:
    """Judge what only an MLmodel file means: code that is put on Python's path, and files of the model."""
    if key == "code" and value not in ("null", "Null", "NULL", "~", ""):
        message = f"the model brings code of its own in {value!r}"
        yield Remark("config-code", Verdict.UNLISTED, message, value, WHY_CODE)
    if key in _PATH_KEYS and value and leaves(value) and not (key in _NOT_BELOW and ":/" in value):
        why = "loading the model reads a file that is not part of it"
        yield Remark("config-path", Verdict.DANGEROUS, f"{key} names {value!r}", f"{key} {value}", why)


def _tag(tag: str) -> Remark:
    python = "python" in tag.lower()
    return Remark(
        "config-object" if python else "config-class",
        Verdict.DANGEROUS if python else Verdict.UNLISTED,
        f"the YAML tag {tag!r}",
        f"tag {tag}",
        "a YAML reader that obeys tags builds Python objects from it" if python else WHY_IMPORT,
    )
