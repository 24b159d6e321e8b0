"""Run a policy's own tests: each rule of a `_test.rego` file whose name begins with `test_` must be true."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from weighbridge.core.canonical import JSON
from weighbridge.core.errors import CannotTell
from weighbridge.policy.settings import PolicyBundle

_PACKAGE = re.compile(r"^package[ \t]+(\S+)", re.MULTILINE)
_TEST = re.compile(r"^(test_\w+)\b", re.MULTILINE)


class Querying(Protocol):
    """An engine that gives the value of any query."""

    def query(
        self, modules: Mapping[str, str], data: Mapping[str, JSON], question: Mapping[str, JSON], query: str
    ) -> Any:
        """Return the value; raises CannotTell when it is undefined."""
        ...


@dataclass(frozen=True, slots=True)
class Trial:
    """One test of a policy: its file and name, whether it held, and what went wrong if not."""

    file: str
    name: str
    passed: bool
    problem: str = ""


def try_policy(bundle: PolicyBundle, engine: Querying) -> tuple[Trial, ...]:
    """Run all tests, each on its own, with the bundle's rules and settings beside them."""
    modules = {**bundle.modules, **bundle.tests}
    found: list[Trial] = []
    for file, text in bundle.tests.items():
        package = _PACKAGE.search(text)
        assert package is not None  # lint has seen it
        for name in dict.fromkeys(_TEST.findall(text)):
            try:
                value = engine.query(modules, bundle.data, {}, f"data.{package[1]}.{name}")
                found.append(Trial(file, name, value is True, "" if value is True else f"it is {value!r}"))
            except CannotTell as error:
                found.append(Trial(file, name, passed=False, problem=error.problem))
    return tuple(found)
