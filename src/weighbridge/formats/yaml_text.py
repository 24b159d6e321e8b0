"""Read YAML text as nodes, constructing nothing, within budgets: events, nesting, characters.

PyYAML's own pure reader does the work, so that a verdict does not depend on whether libyaml is installed.
It takes a second for about forty thousand events, hence the budgets; an alias leads to a node that is there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from weighbridge.core.errors import OutOfBudget, Refused

MAX_TEXT = 1024 * 1024
"""Characters of one YAML text."""
MAX_EVENTS = 150_000
MAX_DEPTH = 100


class _Counted(yaml.SafeLoader):
    """The reader of nodes, counting what it hands on."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.events = 0
        self.open = 0

    def get_event(self) -> Any:
        """Hand on one event; OutOfBudget when there were too many, or too many are open."""
        event: Any = super().get_event()  # type: ignore[no-untyped-call]
        self.events += 1
        self.open += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if self.events > MAX_EVENTS or self.open > MAX_DEPTH:
            raise _spent()
        return event

    def fetch_flow_collection_start(self, token_class: Any) -> None:
        """Begin a bracket; the reader looks ahead, and slowly, when many are open."""
        if self.flow_level > MAX_DEPTH:
            raise _spent()
        super().fetch_flow_collection_start(token_class)


def documents(text: str) -> Iterator[Any]:
    """Yield the root node of each document; Refused (`yaml.syntax`), OutOfBudget (`yaml.budget`)."""
    if len(text) > MAX_TEXT:
        raise _spent()
    try:
        loader = _Counted(text)
        while loader.check_node():
            yield loader.get_node()
    except (yaml.YAMLError, ValueError) as error:
        raise Refused(
            "this is not YAML",
            cause=str(error)[:300],
            remedy="get the file again from its source",
            check="yaml.syntax",
        ) from error
    except RecursionError as error:
        raise _spent() from error


def nodes(document: Any) -> Iterator[tuple[str, Any, frozenset[str]]]:
    """Yield every node with the key it stands under (none in a list) and the keys beside it, each once for each key."""
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
                work.append(("", item, frozenset()))


def _spent() -> OutOfBudget:
    return OutOfBudget(
        f"the YAML has more than {MAX_TEXT} characters or {MAX_EVENTS} values, or is nested deeper than {MAX_DEPTH}",
        cause="it asks for more work than a scan spends on one text",
        remedy="split the file, or remove it from the model",
        check="yaml.budget",
    )
