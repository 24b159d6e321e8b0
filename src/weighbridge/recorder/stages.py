"""The stages that can be claimed, by the word a person types, and what each of them makes of its inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from weighbridge.core.errors import UsageError
from weighbridge.core.lineage import Relation


@dataclass(frozen=True, slots=True)
class StageWord:
    """One stage: its build type (`claims.words.METHODS`; empty for claims that are no build) and how models enter it."""

    method: str
    relation: Relation | None
    """How the output came from the models it names; None where it names none."""
    models: tuple[int, int | None] = (0, 0)
    """How many models it names at least and at most."""
    trains: bool = True
    """Whether it makes weights."""


STAGES: Mapping[str, StageWord] = MappingProxyType(
    {
        "data": StageWord("", None, trains=False),
        "train": StageWord("train", None),
        "fine-tune": StageWord("fine-tune", Relation.FINE_TUNE, (1, None)),
        "continued-pretrain": StageWord("continued-pretraining", Relation.CONTINUED_PRETRAINING, (1, None)),
        "merge": StageWord("merge", Relation.MERGE, (2, None)),
        "adapter": StageWord("adapter", Relation.ADAPTER, (1, None)),
        "quantize": StageWord("quantize", Relation.QUANTIZATION, (1, 1)),
        "prune": StageWord("prune", Relation.PRUNING, (1, 1)),
        "distil": StageWord("distil", Relation.DISTILLATION, (1, None)),
        "convert": StageWord("convert", Relation.CONVERSION, (1, 1), trains=False),
        "evaluate": StageWord("", None, (1, 1), trains=False),
        "package": StageWord("package", None, trains=False),
    }
)
"""In the order in which a model meets them."""
BY_RELATION: Mapping[Relation, str] = MappingProxyType(
    {word.relation: name for name, word in STAGES.items() if word.relation is not None and word.trains}
)


def stage_word(stage: str) -> StageWord:
    """Return what a stage is; raises UsageError with the words there are."""
    found = STAGES.get(stage)
    if found is None:
        import difflib

        close = difflib.get_close_matches(stage, STAGES, n=1)
        raise UsageError(
            f"{stage!r} is no stage",
            cause=f"known are {', '.join(STAGES)}",
            remedy=f"did you mean {close[0]!r}?" if close else "take one of these",
            check="recorder.stage",
        )
    return found
