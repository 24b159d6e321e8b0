"""Which engine evaluates the policy of a registry: made when first asked for, kept until the registry is closed.

`policy_engine` is regorus (in a worker of ours), opa (a server of yours), or both. Both are asked the same question, and
an answer counts only when they agree in the whole of it; a disagreement is no answer, and is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from weighbridge.config import Config
from weighbridge.core.canonical import JSON
from weighbridge.core.decision import Check, EngineAnswer, Outcome
from weighbridge.core.errors import BadSetting, WeighbridgeError
from weighbridge.policy.canned import CLASSES, good
from weighbridge.policy.contract import Engine, Heard, no_answer
from weighbridge.policy.engines.regorus import RegorusEngine
from weighbridge.policy.form import HOUSE
from weighbridge.policy.settings import PolicyBundle
from weighbridge.registry.alerts import alert
from weighbridge.registry.wiring import Registry

ENGINES = ("regorus", "opa", "both")
HELD = "policy engine"
MAX_SAID = 3
REMEDIES = {
    True: "look at the memory and the limits of this machine; install weighbridge again if it goes on",
    False: "start OPA, and look at opa_url, opa_ca and WEIGHBRIDGE_OPA_TOKEN: docs/reference/engines.md; until then nothing is allowed",
}
"""By whether it is regorus alone: what to do when the engine does not answer."""


class PolicyEngine(Engine, Protocol):
    """An engine that is asked about classes of models, and ends with the registry."""

    def answer(self, bundle: PolicyBundle, package: str, question: Mapping[str, JSON]) -> EngineAnswer:
        """Ask a policy about a model of class `package`; one that allows without evidence gets no say."""
        ...

    def hear(
        self, modules: Mapping[str, str], data: Mapping[str, JSON], question: Mapping[str, JSON], query: str
    ) -> Heard:
        """Return the answer of a query, and whether the engine itself was well."""
        ...

    def close(self) -> None:
        """End what it started."""
        ...


def engine_of(registry: Registry) -> PolicyEngine:
    """Return the engine that the settings name, the same one for as long as the registry is open.

    Raises BadSetting for settings that name none, Unreachable when they name one elsewhere and we are offline. Nothing is
    started or asked before the first question.
    """

    def tell(first: EngineAnswer, second: EngineAnswer) -> None:
        facts: dict[str, JSON] = {"first": _said(first), "second": _said(second), "policy": first.policy}
        with registry.records.write() as connection:
            summary = "the policy engines disagree about the same question, so nothing is allowed"
            alert(connection, registry, "outage", "critical", summary, facts=facts)

    return registry.holding(HELD, lambda: make_engine(registry.config, tell=tell))


def make_engine(
    config: Config, *, tell: Callable[[EngineAnswer, EngineAnswer], None] | None = None
) -> PolicyEngine:
    """Make the engine that the settings name; `tell` hears of disagreements. Raises as `engine_of`."""
    name = str(config["policy_engine"])
    if name not in ENGINES:
        raise BadSetting(
            f"there is no policy engine {name!r}", remedy=f"set policy_engine to one of {', '.join(ENGINES)}"
        )
    if name == "regorus":
        return RegorusEngine()
    return _opa(config) if name == "opa" else BothEngines(RegorusEngine(), _opa(config), tell=tell)


@contextmanager
def deciding(config: Config) -> Iterator[PolicyEngine | None]:
    """Give the engine that decides where that is not regorus alone, for vetting; None where it is. Raises as `engine_of`."""
    engine = None if config["policy_engine"] == "regorus" else make_engine(config)
    try:
        yield engine
    finally:
        if engine is not None:
            engine.close()


def health(registry: Registry, bundle: PolicyBundle) -> Check:
    """Ask the engine that decides about a model in which nothing is wrong; the check fails when it gives no answer.

    It is asked as for a decision, by this policy: so an OPA that is there and may not be written to, holds other policies or
    refuses this one fails as well. What the policy says of the model does not matter.
    """
    name = str(registry.config["policy_engine"])
    where = f" at {registry.config['opa_url']}" if name in ("opa", "both") else ""
    expected = f"an answer by the policy engine that decides: {name}{where}"
    remedy = REMEDIES[name == "regorus"]
    text = "\n".join(bundle.modules.values())
    package = next((one for one in CLASSES if f"package {HOUSE}.{one}\n" in text), CLASSES[0])
    question = good(package, bundle.settings)[0].question
    try:
        engine = engine_of(registry)
        answer = engine.hear(bundle.modules, bundle.data, question, f"data.{HOUSE}.{package}").answer
    except WeighbridgeError as error:
        said = f"{error.problem}: {error.cause}" if error.cause else error.problem
        return Check("engine.answers", Outcome.FAIL, expected, said, remedy=error.remedy or remedy)
    if answer.outcome is Outcome.CANNOT_TELL:
        found = f"{engine.digest}: {answer.problem}"
        return Check("engine.answers", Outcome.FAIL, expected, found, remedy=remedy)
    return Check("engine.answers", Outcome.PASS, expected, engine.digest)


def _opa(config: Config) -> PolicyEngine:
    from weighbridge.net import Tls  # most registries ask nobody
    from weighbridge.policy.engines.opa import OpaEngine, Place

    tls = Tls(str(config["opa_ca"]), str(config["opa_cert"]), str(config["opa_key"]))
    if bool(tls.certificate) != bool(tls.key):
        raise BadSetting("opa_cert and opa_key go together", remedy="set both, or neither")
    seconds = int(config["opa_seconds"])
    if not 1 <= seconds <= 60:
        raise BadSetting("opa_seconds is a number from 1 to 60", cause=f"it is {seconds}")
    place = Place(
        str(config["opa_url"]), config.opa_token, tls, seconds=float(seconds), offline=bool(config["offline"])
    )
    return OpaEngine(place)


class BothEngines:
    """Two engines as one, which says something only where both say the same."""

    def __init__(
        self,
        first: PolicyEngine,
        second: PolicyEngine,
        *,
        tell: Callable[[EngineAnswer, EngineAnswer], None] | None = None,
    ) -> None:
        self._first = first
        self._second = second
        self._tell = tell

    @property
    def digest(self) -> str:
        """Return the names of both."""
        return f"{self._first.digest} and {self._second.digest}"

    def close(self) -> None:
        """End both."""
        try:
            self._first.close()
        finally:
            self._second.close()

    def evaluate(
        self, modules: Mapping[str, str], data: Mapping[str, JSON], question: Mapping[str, JSON], query: str
    ) -> EngineAnswer:
        """Return what both answer."""
        first = self._first.evaluate(modules, data, question, query)
        return self._agreed(first, self._second.evaluate(modules, data, question, query))

    def hear(
        self, modules: Mapping[str, str], data: Mapping[str, JSON], question: Mapping[str, JSON], query: str
    ) -> Heard:
        """Return what both answer, and whether both were well."""
        first = self._first.hear(modules, data, question, query)
        second = self._second.hear(modules, data, question, query)
        return Heard(self._agreed(first.answer, second.answer), well=first.well and second.well)

    def answer(self, bundle: PolicyBundle, package: str, question: Mapping[str, JSON]) -> EngineAnswer:
        """Return what both answer about a model of class `package`."""
        first = self._first.answer(bundle, package, question)
        return self._agreed(first, self._second.answer(bundle, package, question))

    def _agreed(self, first: EngineAnswer, second: EngineAnswer) -> EngineAnswer:
        """Return the one answer of both; CANNOT_TELL with the words of both where there is none."""
        engine = f"{first.engine} and {second.engine}"
        silent = [answer for answer in (first, second) if answer.outcome is Outcome.CANNOT_TELL]
        if silent:
            problem = "; ".join(f"{answer.engine}: {answer.problem}" for answer in silent)
            return no_answer(problem, engine=engine, policy=first.policy)
        if _content(first) == _content(second):
            return EngineAnswer(
                first.outcome, first.denials, first.warnings, policy=first.policy, engine=engine
            )
        problem = f"the engines disagree: {_said(first)}; {_said(second)}"
        if self._tell is not None:
            try:
                self._tell(first, second)
            except Exception as error:  # noqa: BLE001 (who cannot be told does not change the answer)
                problem = f"{problem}; and nobody could be told of it: {error}"
        return no_answer(problem, engine=engine, policy=first.policy)


def _content(answer: EngineAnswer) -> tuple[object, ...]:
    """Return what two answers must have in common; denials and warnings are sorted, and sets in Rego."""
    return answer.outcome, sorted(set(answer.denials)), sorted(set(answer.warnings)), answer.policy


def _said(answer: EngineAnswer) -> str:
    """Say in a few words what an engine answered, the way in which it differs being what matters."""
    rows = [f"{rule}: {message}" for rule, message in answer.denials[:MAX_SAID]]
    more = f" and {len(answer.denials) - MAX_SAID} more" if len(answer.denials) > MAX_SAID else ""
    warned = f", {len(answer.warnings)} warning(s)" if answer.warnings else ""
    said = (
        "allows"
        if answer.outcome is Outcome.PASS
        else f"denies ({'; '.join(rows)}{more})"
        if rows
        else "does not allow"
    )
    return f"{answer.engine} {said}{warned}"
