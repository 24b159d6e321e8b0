"""Playing stories: one registry is made, every step gets a copy of it, and what came of each is told as it ends."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from weighbridge.core.canonical import JSON
from weighbridge.drill import MODULES, STORIES
from weighbridge.drill.stage import Stage
from weighbridge.drill.steps import Ending, Played, Step, play


@dataclass(frozen=True, slots=True)
class Total:
    """How many steps of a story, or of all, ended in which way; those not as announced are counted apart."""

    tried: int
    stopped: int
    shown: int
    open: int
    failed: int

    def __str__(self) -> str:
        text = (
            f"{self.tried} tried, {self.stopped} stopped, {self.shown} only shown, {self.open} open by design"
        )
        return f"{text}, {self.failed} not as announced" if self.failed else text


def steps_of(story: str) -> tuple[Step, ...]:
    """Return the steps of a story, in the order in which they are played."""
    found: list[Step] = []
    for name in MODULES[story]:
        found += import_module(f"weighbridge.drill.{name}").STEPS
    return tuple(found)


def play_steps(steps: Sequence[Step], stage: Stage, folder: Path, *, keep: bool = False) -> Iterator[Played]:
    """Play steps below `folder`, each in a copy of the registry on this stage; yields each as it ends.

    What a step leaves is removed unless it is to be kept.
    """
    stage.close()
    for step in steps:
        copy = stage.copy(folder / step.id)
        try:
            yield play(step, copy)
        finally:
            copy.close()
            if not keep:
                shutil.rmtree(copy.folder, ignore_errors=True)


def total(played: Sequence[Played]) -> Total:
    """Count how steps ended."""
    right = [row.step.ends for row in played if not row.problem]
    stopped, shown, left = (right.count(ending) for ending in (Ending.STOPPED, Ending.SHOWN, Ending.OPEN))
    return Total(len(played), stopped, shown, left, len(played) - len(right))


def story_json(story: str, played: Sequence[Played]) -> dict[str, JSON]:
    """Return a story as one item of `weighbridge.drill/1`."""
    count = total(played)
    return {
        "story": story,
        "attacker": STORIES[story],
        "steps": [row.to_json() for row in played],
        "tried": count.tried,
        "stopped": count.stopped,
        "shown": count.shown,
        "open": count.open,
        "failed": count.failed,
    }
