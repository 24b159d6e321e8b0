"""Run a policy's own tests, and say which of its rules none of them reached.

Each rule of a `_test.rego` file whose name begins with `test_` must be true; each is asked on its own. A rule of the policy
was reached when the engine evaluated a line of it for some test: that says that something was tried, not that it is right.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from weighbridge.core.canonical import JSON
from weighbridge.core.errors import BadReference, CannotTell, Unreachable
from weighbridge.policy.contract import printable
from weighbridge.policy.lint import bare
from weighbridge.policy.settings import PolicyBundle, starter
from weighbridge.policy.syntax import Module

_PACKAGE = re.compile(r"^[ \t]*package[ \t]+([\w.]+)", re.MULTILINE)
_TEST = re.compile(r"^[ \t]*(test_\w+)\b", re.MULTILINE)
SHARED = ("predicates.rego", "require.rego")
"""Files with tests of their own elsewhere; as they were shipped, their rules do not count as those of a policy."""
_NAME = re.compile(r"[a-z][a-z0-9_]{0,50}")


class Querying(Protocol):
    """An engine that gives the value of any query, the lines that it reached for it, and syntax trees."""

    def query(
        self, modules: Mapping[str, str], data: Mapping[str, JSON], question: Mapping[str, JSON], query: str
    ) -> Any:
        """Return the value; raises CannotTell when it is undefined."""
        ...

    def covered(
        self, modules: Mapping[str, str], data: Mapping[str, JSON], question: Mapping[str, JSON], query: str
    ) -> tuple[Any, Any]:
        """Return the value and `{"files": [{"path", "covered", "not_covered"}]}`; raises as `query`."""
        ...

    def look(self, modules: Mapping[str, str]) -> Any:
        """Return the syntax tree of each module."""
        ...


@dataclass(frozen=True, slots=True)
class Trial:
    """One test of a policy: its file and name, whether it held, and what went wrong if not."""

    file: str
    name: str
    passed: bool
    problem: str = ""

    def to_json(self) -> dict[str, JSON]:
        """Return the test as JSON."""
        return {"file": self.file, "name": self.name, "passed": self.passed, "problem": self.problem}


@dataclass(frozen=True, slots=True)
class Reached:
    """One definition of a rule, and how many of its lines some test reached."""

    file: str
    line: int
    rule: str
    reached: int
    lines: int

    @property
    def tested(self) -> bool:
        """Whether any test reached it."""
        return self.reached > 0

    def to_json(self) -> dict[str, JSON]:
        """Return the rule as JSON."""
        return {
            "file": self.file, "line": self.line, "rule": self.rule, "reached": self.reached, "lines": self.lines,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Trials:
    """All tests of a policy, and what they reached of its rules. `missed` are lines by file that no test reached."""

    trials: tuple[Trial, ...]
    rules: tuple[Reached, ...]
    missed: Mapping[str, tuple[int, ...]]

    @property
    def failed(self) -> tuple[Trial, ...]:
        """The tests that did not hold."""
        return tuple(trial for trial in self.trials if not trial.passed)

    @property
    def untested(self) -> tuple[Reached, ...]:
        """The rules that no test reached."""
        return tuple(rule for rule in self.rules if not rule.tested)

    @property
    def percent(self) -> float:
        """How much of the lines of all rules was reached, rounded down to a tenth: 100 says that all were."""
        lines, reached = sum(rule.lines for rule in self.rules), sum(rule.reached for rule in self.rules)
        return 1000 * reached // lines / 10 if lines else 0.0

    def to_json(self) -> dict[str, JSON]:
        """Return one item of `weighbridge.policy-test/1`."""
        return {
            "tests": [trial.to_json() for trial in self.trials],
            "percent": self.percent,
            "rules": [rule.to_json() for rule in self.rules],
            "missed": {file: list(lines) for file, lines in self.missed.items()},
        }


def try_policy(bundle: PolicyBundle, engine: Querying) -> tuple[Trial, ...]:
    """Run all tests, each on its own, with the bundle's rules and settings beside them."""

    def ask(query: str, modules: Mapping[str, str]) -> tuple[Any, Any]:
        return engine.query(modules, bundle.data, {}, query), {}

    return tuple(trial for trial, _ in _run(bundle, ask))


def try_covered(bundle: PolicyBundle, engine: Querying) -> Trials:
    """Run all tests as `try_policy` does, and note what they reach; raises CannotTell for rules that are no Rego."""
    shipped = starter()
    looked = {
        file: text
        for file, text in bundle.modules.items()
        if file not in SHARED or text.encode() != shipped.get(file)
    }
    trees = engine.look(looked)
    hit: dict[str, set[int]] = {file: set() for file in looked}
    known: dict[str, set[int]] = {file: set() for file in looked}
    trials = []

    def ask(query: str, modules: Mapping[str, str]) -> tuple[Any, Any]:
        return engine.covered(modules, bundle.data, {}, query)

    for trial, report in _run(bundle, ask):
        trials.append(trial)
        for row in report.get("files", ()):
            if row["path"] in hit:
                hit[row["path"]].update(row["covered"])
                known[row["path"]].update(row["covered"], row["not_covered"])
    rules = [
        _reached(file, rule.name, (rule.line, rule.end), hit[file], known[file])
        for file, text in looked.items()
        for rule in Module(file, text, trees[file]).rules
    ]
    missed = {file: tuple(sorted(known[file] - hit[file])) for file in looked if known[file] - hit[file]}
    return Trials(tuple(trials), tuple(rules), missed)


def _reached(file: str, name: str, lines: tuple[int, int], hit: set[int], known: set[int]) -> Reached:
    within = set(range(lines[0], lines[1] + 1))
    return Reached(file, lines[0], name, len(within & hit), len(within & known) or 1)


def _run(
    bundle: PolicyBundle, ask: Callable[[str, Mapping[str, str]], tuple[Any, Any]]
) -> Iterator[tuple[Trial, Any]]:
    """Yield each test and what `ask` said beside its value."""
    modules = {**bundle.modules, **bundle.tests}
    for file, text in bundle.tests.items():
        code = bare(text)
        package = _PACKAGE.search(code)
        assert package is not None  # lint has seen it
        for name in dict.fromkeys(_TEST.findall(code)):
            try:
                value, report = ask(f"data.{package[1]}.{name}", modules)
                yield (
                    Trial(
                        file, name, value is True, "" if value is True else f"it is {printable(repr(value))}"
                    ),
                    report,
                )
            except Unreachable:
                raise
            except CannotTell as error:
                yield Trial(file, name, passed=False, problem=error.problem), {}


def fixture(name: str, package: str, question: Mapping[str, JSON], *, allow: bool) -> tuple[str, str]:
    """Return the file name and the text of a test with the question of a past decision; raises BadReference for a bad name.

    It asks that the policy answers as it did. The settings are those of the policy that is tested.
    """
    if not _NAME.fullmatch(name):
        raise BadReference(
            f"{name!r} is no name of a test",
            remedy="take up to 51 lower-case letters, digits and _, a letter first",
        )
    body = json.dumps(question, indent="\t", ensure_ascii=True, sort_keys=True)
    verb, test = ("allowed", f"{package}.allow") if allow else ("not_allowed", f"not {package}.allow")
    text = (
        f"# The question of a decision that was made; `weighbridge policy test --from` wrote it.\n"
        f"package weighbridge.{name}_test\n\nimport data.weighbridge.{package}\n\n"
        f"test_{name}_is_{verb} if {{\n\t{test} with input as question\n}}\n\nquestion := {body}\n"
    )
    return f"{name}_test.rego", text
