"""Judge YAML by its tags and keys: the nodes are read, nothing is constructed, so no tag is ever obeyed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from weighbridge.core.finding import Verdict
from weighbridge.scanner.config_values import WHY_CODE, WHY_IMPORT, Remark, leaves, named

READER = "yaml-nodes 2"
MAX_YAML = 1024 * 1024
"""Characters of one YAML text: the reader takes four to fifteen seconds for so many."""
MAX_NODES = 500_000

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
    import yaml

    if len(text) > MAX_YAML:
        problem = f"more than {MAX_YAML} characters of YAML"
        yield Remark(
            "config-unread", Verdict.UNREAD, problem, "yaml.budget", "what was not read may hold anything"
        )
        return
    count = 0
    try:
        for document in yaml.compose_all(text, Loader=yaml.SafeLoader):
            for found in _document(document, mlmodel=mlmodel):
                count += found is None
                if count > MAX_NODES:
                    problem = f"more than {MAX_NODES} values"
                    yield Remark("config-unread", Verdict.UNREAD, problem, "yaml.budget")
                    return
                if found is not None:
                    yield found
    except (yaml.YAMLError, ValueError) as error:
        why = "two readers may disagree"
        yield Remark("config-broken", Verdict.BROKEN, f"this is not YAML: {error}", "yaml.syntax", why)
    except RecursionError:
        yield Remark("config-unread", Verdict.UNREAD, "the YAML is nested too deeply", "yaml.budget")


def texts_of(text: str) -> Iterator[tuple[str, str]]:
    """Yield the key and the text of each value of YAML text, each node once; what is no YAML yields nothing more."""
    import yaml

    if len(text) > MAX_YAML:
        return
    try:
        for document in yaml.compose_all(text, Loader=yaml.SafeLoader):
            for key, node, _ in _nodes(document):
                if isinstance(node.value, str):
                    yield key, node.value
    except (yaml.YAMLError, ValueError, RecursionError):
        return  # the configuration rules say so


def _document(document: Any, *, mlmodel: bool) -> Iterator[Remark | None]:
    """Judge every node with the key it stands under and the keys beside it; None counts one node."""
    for key, node, siblings in _nodes(document):
        yield None
        if node.tag != "!" and not _CORE_TAGS.fullmatch(node.tag):
            yield _tag(node.tag)
        if isinstance(node.value, str):
            yield from named(key, node.value, siblings)
            if mlmodel:
                yield from _path(key, node.value)


def _nodes(document: Any) -> Iterator[tuple[str, Any, frozenset[str]]]:
    """Yield every node with its key and the keys beside it; an alias leads to a node that is there already."""
    work: list[tuple[str, Any, frozenset[str]]] = [("", document, frozenset())]
    seen: set[tuple[str, int, bool]] = set()
    while work:
        key, node, siblings = work.pop()
        met = (key, id(node), "params" in siblings)
        if node is None or met in seen:
            continue
        seen.add(met)
        yield key, node, siblings
        if isinstance(node.value, str):
            continue
        pairs = [item for item in node.value if isinstance(item, tuple)]
        keys = frozenset(item[0].value for item in pairs if isinstance(item[0].value, str))
        for item in node.value:
            if isinstance(item, tuple):
                name = item[0].value if isinstance(item[0].value, str) else ""
                work += [("", item[0], frozenset()), (name, item[1], keys)]
            else:
                work.append((key, item, siblings))


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
