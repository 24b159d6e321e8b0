"""What every engine does around its own evaluation: ask a policy about a class, unless it would let anything pass."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace

from weighbridge.core.canonical import JSON
from weighbridge.core.decision import EngineAnswer, Outcome
from weighbridge.core.errors import Unreachable
from weighbridge.policy.contract import Heard, Hearing, no_answer
from weighbridge.policy.form import errors
from weighbridge.policy.settings import PolicyBundle
from weighbridge.policy.vetting import Looking, barred, read

KNOWN = 64
"""Policies and classes that are remembered."""
_READ: OrderedDict[tuple[type, str, str], str] = OrderedDict()
"""What reading its rules shows of a policy, by the engine that reads them: a process that opens registry after registry
reads the same rules once. What an engine answers is asked of each engine anew."""


class Guard:
    """Remembers of each policy whether it allows where there is no evidence."""

    def __init__(self) -> None:
        self._opened: OrderedDict[tuple[str, str], str] = OrderedDict()

    def ask(
        self, engine: Hearing, bundle: PolicyBundle, package: str, question: Mapping[str, JSON]
    ) -> EngineAnswer:
        """Ask a policy about a model of class `package` (own, third_party or legacy).

        A policy that allows where there is no evidence gets no say: the answer is CANNOT_TELL. So is the answer while the
        engine cannot be asked whether it does; that is not remembered.
        """
        policy = str(bundle.digest)
        known = (policy, package)
        if known not in self._opened:
            heard = _nothing(engine, bundle, package)
            if not heard.well:
                return replace(heard.answer, policy=policy)
            self._opened[known] = heard.answer.problem
            while len(self._opened) > KNOWN:
                self._opened.popitem(last=False)
        if problem := self._opened[known]:
            return no_answer(problem, engine=engine.digest, policy=policy)
        heard = engine.hear(bundle.modules, bundle.data, question, f"data.weighbridge.{package}")
        return replace(heard.answer, policy=policy)


def _nothing(engine: Hearing, bundle: PolicyBundle, package: str) -> Heard:
    """Say in the problem why a policy gets no say: it allows what nobody may, or its rules are certainly wrong.

    The words are `vetting`'s. An engine that cannot show how it reads rules (a server elsewhere) is only asked.
    """
    failed: list[Heard] = []

    def ask(asked: str, question: Mapping[str, JSON]) -> EngineAnswer:
        if failed:  # one that gives no answer in its time would take it for each question
            return failed[0].answer
        heard = engine.hear(bundle.modules, bundle.data, question, f"data.weighbridge.{asked}")
        if not heard.well:
            failed.append(heard)
        return heard.answer

    problem = barred(package, ask)
    if failed:
        return failed[0]
    if problem:
        problem = f"this policy would let anything pass: {problem}"
    elif isinstance(engine, Looking):
        try:
            problem = _unsound(engine, engine.digest, bundle)
        except Unreachable as error:
            return Heard(no_answer(error.problem, engine=engine.digest), well=False)
    outcome = Outcome.CANNOT_TELL if problem else Outcome.FAIL
    return Heard(EngineAnswer(outcome, problem=problem), well=True)


def _unsound(engine: Looking, digest: str, bundle: PolicyBundle) -> str:
    """Say what is certainly wrong with the rules of a policy; empty when nothing is. Raises Unreachable."""
    known = (type(engine), digest, str(bundle.digest))
    problem = _READ.get(known)
    if problem is None:
        wrong = errors(read(bundle.modules, engine))
        problem = _READ[known] = f"this policy is not sound: {wrong[0]}" if wrong else ""
        while len(_READ) > KNOWN:
            _READ.popitem(last=False)
    return problem
