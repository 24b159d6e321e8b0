"""Find which tensor of one model stands for which of another: by content where that decides, else by name."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass

from weighbridge.tensors.fingerprint import JOINT, Print

PEAKS = 3
"""Peaks of one tensor that must agree: by chance three of eight do once in 10**11 pairs of tensors."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A tensor of each side and by what they were found: `digest`, `cast`, `norm`, `peaks` or `name`."""

    first: Print
    second: Print
    by: str

    @property
    def equal(self) -> bool:
        """Whether type, shape and bytes are the same."""
        return self.first.digest == self.second.digest

    @property
    def cast(self) -> bool:
        """Whether both round to the same values in bfloat16 or in float16: as the narrower of the two types would hold them."""
        types = {self.first.dtype, self.second.dtype}
        if self.first.dtype == self.second.dtype or types & {"F8_E4M3", "F8_E5M2"}:
            return False
        if types == {"F64", "F32"}:
            return (self.first.f16, self.first.bf16) == (self.second.f16, self.second.bf16)
        if "F16" in types and self.first.f16 and self.first.f16 == self.second.f16:
            return True
        return "BF16" in types and bool(self.first.bf16) and self.first.bf16 == self.second.bf16

    @property
    def renamed(self) -> bool:
        """Whether the names differ."""
        return self.first.name != self.second.name


@dataclass(frozen=True, slots=True)
class Paired:
    """All pairs, and what stands on one side alone."""

    pairs: tuple[Pair, ...]
    first_alone: tuple[Print, ...]
    second_alone: tuple[Print, ...]


def pair(first: Sequence[Print], second: Sequence[Print]) -> Paired:
    """Pair the tensors of two models; each is used once, and the surest way of finding its partner wins."""
    work = _Work(list(first), list(second))
    work.match(lambda p: (p.name, p.digest), "digest")
    work.match(lambda p: None if p.common else p.digest, "digest")
    work.match(lambda p: (p.name, p.f16) if p.f16 else None, "cast")
    work.match(lambda p: (p.name, p.bf16) if p.bf16 else None, "cast")
    for narrow in ("f16", "bf16", "norm"):
        work.match(_content(narrow), "norm" if narrow == "norm" else "cast")
    work.match_shifted()
    work.match_peaks()
    work.match(lambda p: (p.name, p.shape), "name")
    work.match(lambda p: (p.name.rpartition(JOINT)[2], p.shape), "name")
    work.match_prefix()
    work.match(lambda p: p.digest if p.common else None, "digest")
    work.match(lambda p: p.name, "name")
    pairs = sorted(work.pairs, key=lambda found: found.first.name.encode())
    return Paired(tuple(pairs), tuple(work.first), tuple(work.second))


def _content(field: str) -> Callable[[Print], Hashable]:
    def key(tensor: Print) -> Hashable:
        return None if tensor.common else getattr(tensor, field) or None

    return key


class _Work:
    """What is not paired yet, and what is."""

    def __init__(self, first: list[Print], second: list[Print]) -> None:
        self.first = first
        self.second = second
        self.pairs: list[Pair] = []

    def match(self, key: Callable[[Print], Hashable], by: str) -> None:
        """Pair what has the same key; None is no key, and of several the first of each side go together."""
        waiting: dict[Hashable, list[Print]] = defaultdict(list)
        for tensor in reversed(self.first):
            waiting[key(tensor)].append(tensor)
        waiting.pop(None, None)
        found = [
            (waiting[k].pop(), tensor)
            for tensor in self.second
            if (k := key(tensor)) in waiting and waiting[k]
        ]
        self.take(found, by)

    def take(self, found: Iterable[tuple[Print, Print]], by: str) -> None:
        """Note pairs, and take their tensors from what is left."""
        found = list(found)
        self.pairs += [Pair(one, other, by) for one, other in found]
        used = {id(tensor) for both in found for tensor in both}
        self.first = [tensor for tensor in self.first if id(tensor) not in used]
        self.second = [tensor for tensor in self.second if id(tensor) not in used]

    def match_shifted(self) -> None:
        """Pair norms of which one side holds the other's values plus one."""
        for one, other in (("norm", "shifted"), ("shifted", "norm")):
            waiting = {getattr(t, one): t for t in reversed(self.first) if getattr(t, one) and not t.common}
            found = [(waiting.pop(getattr(t, other)), t) for t in self.second if getattr(t, other) in waiting]
            self.take(found, "norm")

    def match_peaks(self) -> None:
        """Pair tensors of equally many elements that agree on at least three peaks, the most agreeing first."""
        waiting: dict[tuple[int, int, int], list[int]] = defaultdict(list)
        for at, tensor in enumerate(self.first):
            for key in peaks_of(tensor):
                waiting[key].append(at)
        votes = []
        for at, tensor in enumerate(self.second):
            counted = Counter(one for key in peaks_of(tensor) for one in waiting.get(key, ())[:16])
            votes += [(-count, one, at) for one, count in counted.items() if count >= _needed(tensor)]
        taken: set[tuple[int, int]] = set()
        found = []
        for _, one, other in sorted(votes):
            if (0, one) not in taken and (1, other) not in taken:
                taken |= {(0, one), (1, other)}
                found.append((self.first[one], self.second[other]))
        self.take(found, "peaks")

    def match_prefix(self) -> None:
        """Pair names that differ by a prefix only, as `bert.` or `model.`, where most of the rest do."""
        for turned in (False, True):
            short, long = (self.second, self.first) if turned else (self.first, self.second)
            names = {tensor.name: tensor for tensor in short}
            prefixes: Counter[str] = Counter()
            for tensor in long:
                prefixes.update(head for head, tail in _cuts(tensor.name) if tail in names)
            if not prefixes:
                continue
            prefix, _ = min(prefixes.items(), key=lambda item: (-item[1], item[0]))
            both = [
                (names[t.name[len(prefix) :]], t)
                for t in long
                if t.name.startswith(prefix) and t.name[len(prefix) :] in names
            ]
            self.take([(t, s) if turned else (s, t) for s, t in both if s.shape == t.shape], "name")


def _cuts(name: str) -> list[tuple[str, str]]:
    parts = name.split(".")[:8]
    heads = [".".join(parts[:count]) + "." for count in range(1, len(parts))]
    return [(head, name[len(head) :]) for head in heads]


def _needed(tensor: Print) -> int:
    """Return how many peaks must agree: fewer windows, or small ones, must agree in all."""
    return max(2, min(PEAKS, sum(peak >= 0 for peak in tensor.peaks)))


def peaks_of(tensor: Print) -> list[tuple[int, int, int]]:
    """Return (elements, window, place) of each peak of a tensor that proves something."""
    if tensor.common:
        return []
    return [(tensor.elements, window, peak) for window, peak in enumerate(tensor.peaks) if peak >= 0]


def agreeing(one: Print, other: Print) -> tuple[int, int]:
    """Return how many peaks of two tensors agree, of how many that both have; nothing where sizes differ."""
    if one.elements != other.elements:
        return 0, 0
    both = [(p, q) for p, q in zip(one.peaks, other.peaks, strict=False) if p >= 0 and q >= 0]
    return sum(p == q for p, q in both), len(both)
