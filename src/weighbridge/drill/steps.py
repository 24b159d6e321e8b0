"""What a step of a drill is, how it may end, and how what happened is held against what was announced."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from weighbridge.core.canonical import JSON
from weighbridge.core.decision import Decision
from weighbridge.core.errors import WeighbridgeError
from weighbridge.drill.stage import Stage
from weighbridge.gate.promote import Result

MAX_WORDS = 300
GATHERED = "evidence.gathered"

_NAMED = re.compile(r"\[([a-z-]+\.[a-z-]+)\]")


class Ending(StrEnum):
    """How an attack ends."""

    STOPPED = "stopped"
    SHOWN = "shown"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Seen:
    """What an attack came to: each control that spoke with what it said; none when the attack went through."""

    ending: Ending
    words: tuple[tuple[str, str], ...] = ()
    otherwise: str = ""
    """What happened when nothing spoke."""

    @property
    def controls(self) -> tuple[str, ...]:
        """The ids of what spoke, each once."""
        return tuple(dict.fromkeys(control for control, _ in self.words))

    def said(self, control: str) -> str:
        """Return what a control said; else what the first one did, or what happened."""
        first = self.words[0][1] if self.words else self.otherwise
        return next((said for name, said in self.words if name == control), first)


@dataclass(frozen=True, slots=True)
class Step:
    """One attack, and how it is announced to end."""

    id: str
    """`<story>.<what>`: what the drill and its page call it by."""
    tried: str
    had: str
    ends: Ending
    control: str
    """Stopped: the id of the check that must say no. Shown: the kind of what is shown. Open: empty."""
    means: str
    """Stopped: what the control is. Shown: to whom. Open: what happens, and what would show it."""
    act: Callable[[Stage], Seen]


@dataclass(frozen=True, slots=True)
class Played:
    """A step after it was played."""

    step: Step
    seen: Seen
    problem: str = ""
    """Why this is not what was announced; empty when it is."""

    def to_json(self) -> dict[str, JSON]:
        """Return the step as it stands in `weighbridge.drill/1`."""
        return {
            "id": self.step.id,
            "tried": self.step.tried,
            "had": self.step.had,
            "announced": self.step.ends.value,
            "control": self.step.control,
            "means": self.step.means,
            "ending": self.seen.ending.value,
            "controls": list(self.seen.controls),
            "said": self.seen.said(self.step.control),
            "as_announced": not self.problem,
            "problem": self.problem,
        }


def play(step: Step, stage: Stage) -> Played:
    """Play one step; whatever goes wrong in it is an ending that was not announced."""
    try:
        seen = step.act(stage)
    except WeighbridgeError as error:
        seen = _refusal(error)
    except Exception as error:  # noqa: BLE001 (the drill goes on, and fails at its end)
        return Played(step, Seen(Ending.OPEN), f"it broke: {type(error).__name__}: {error}"[:MAX_WORDS])
    place = f"{stage.folder}/"
    words = tuple((control, said.replace(place, "")) for control, said in seen.words)
    seen = Seen(seen.ending, words, seen.otherwise.replace(place, ""))
    return Played(step, seen, _problem(step, seen))


def _problem(step: Step, seen: Seen) -> str:
    if step.ends is Ending.OPEN:
        return "" if seen.ending is Ending.OPEN else f"announced as open, and {_by(seen)}"
    if seen.ending is Ending.OPEN:
        verb = "stopped" if step.ends is Ending.STOPPED else "showed"
        return f"nothing {verb} it: {seen.otherwise}".rstrip(": ")
    if seen.ending is not step.ends or step.control not in seen.controls:
        return f"announced as {step.ends.value} by {step.control}, and {_by(seen)}"
    return ""


def _by(seen: Seen) -> str:
    return f"{seen.ending.value} by {', '.join(seen.controls)}: {seen.said('')}"


# What an attack came to, in the ways it can.


def refused(act: Callable[[], object], otherwise: str) -> Seen:
    """Run what must be refused, by an error or by a decision; `otherwise` says what happened when it was not."""
    try:
        came = act()
    except WeighbridgeError as error:
        return _refusal(error)
    if isinstance(came, Result) and not came.decision.allow:
        return blocked(came.decision)
    return through(otherwise)


def blocked(decision: Decision) -> Seen:
    """Tell what stands against a decision; an allow has gone through."""
    if decision.allow:
        return through("the gate allowed it")
    words = [(check.id, check.found) for check in decision.refusals]
    # Evidence that could not be had names, in brackets, the check that refused it.
    inner = [(name, found) for check, found in words if check == GATHERED for name in _NAMED.findall(found)]
    return Seen(Ending.STOPPED, tuple((name, _short(found)) for name, found in (*words, *inner)))


def without_effect(control: str, before: object, after: object, said: str) -> Seen:
    """Tell whether what was handed in changed anything; a statement that may not take effect is kept and does nothing."""
    if before == after:
        return Seen(Ending.STOPPED, ((control, said),))
    return through(f"it took effect: {_short(str(after))}")


def shown(*words: tuple[str, str]) -> Seen:
    """Tell what was shown, as (kind, words); nothing when there is no kind."""
    found = tuple((kind, _short(said)) for kind, said in words)
    return Seen(Ending.SHOWN, found) if found else through("nobody was told")


def through(said: str) -> Seen:
    """Tell that nothing stopped or showed it."""
    return Seen(Ending.OPEN, otherwise=_short(said))


def _refusal(error: WeighbridgeError) -> Seen:
    said = f"{error.problem}: {error.cause}" if error.cause else error.problem
    return Seen(Ending.STOPPED, ((error.check or error.kind, _short(said)),))


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= MAX_WORDS else f"{line[: MAX_WORDS - 1]}…"
