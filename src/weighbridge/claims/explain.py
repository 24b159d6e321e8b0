"""Explain an ancestry: each link with who signed what, what that proves, and what is missing. No input, no output.

The tree is the graph that `chain.walk` judged, the model first, each identity once in full ("as above" after that).
Claims that were refused are shown beside the others, with their reason, and lead nowhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from weighbridge.claims.chain import missing, walk_graph
from weighbridge.claims.graph import Graph, Index, Node, Way, discover, proven_same, relation_of
from weighbridge.core.canonical import JSON
from weighbridge.core.digest import Digest
from weighbridge.core.evidence import Ancestry, ClaimFact
from weighbridge.core.tier import Stage

MAX_SHOWN = 1_000
"""Links; what a person reads. The JSON holds as many, and says how many there are."""
MAX_SAID = 50
"""Claims about one link, believed ones first: strangers may hand in as many as they like."""

_MODEL = (Stage.ORIGIN, Stage.CONVERT, Stage.TRAIN, Stage.PACKAGE)
_OF_KIND = {"dataset": (Stage.DATA,), "tokenizer": (Stage.DATA, *_MODEL), "model": _MODEL}


@dataclass(frozen=True, slots=True)
class Said:
    """One claim about a link: of which stage, by whom, whether it is believed, and what it proves or why it does not."""

    stage: Stage
    signer: str
    bundle: Digest
    believed: bool
    text: str
    check: str = ""

    def to_json(self) -> dict[str, JSON]:
        """Return the claim as it stands in `weighbridge.claims/1`."""
        return {
            "stage": self.stage.value,
            "signer": self.signer,
            "bundle": str(self.bundle),
            "believed": self.believed,
            "text": self.text,
            "check": self.check,
        }


@dataclass(frozen=True, slots=True)
class Link:
    """One identity in the tree: how it led to the one above it, whether its beginnings are proven, what was said."""

    digest: Digest
    kind: str
    depth: int
    relation: str
    proven: bool
    ends: str
    """`data` or `origin` where the proof ends here, else empty."""
    said: tuple[Said, ...]
    missing: str
    check: str
    again: bool = False
    """Shown in full further up."""
    unsaid: int = 0
    """Claims about it that are left out here."""

    def to_json(self) -> dict[str, JSON]:
        """Return the link as it stands in `weighbridge.claims/1`."""
        return {
            "identity": str(self.digest),
            "kind": self.kind,
            "depth": self.depth,
            "relation": self.relation,
            "proven": self.proven,
            "ends": self.ends,
            "said": [one.to_json() for one in self.said],
            "missing": self.missing,
            "check": self.check,
            "again": self.again,
            "unsaid": self.unsaid,
        }


@dataclass(frozen=True, slots=True)
class Explanation:
    """The ancestry of a model, its links as a tree in reading order, and the evaluations that speak of it."""

    ancestry: Ancestry
    links: tuple[Link, ...]
    evaluations: tuple[Said, ...]
    left_out: int = 0

    @property
    def answer(self) -> str:
        """One sentence: proven to data, proven to an accepted origin, or broken at which link."""
        if self.ancestry.end == "data":
            return "proven to data"
        if self.ancestry.end == "origin":
            count = len(self.ancestry.origins)
            return "proven to an accepted origin" if count == 1 else f"proven to {count} accepted origins"
        at = self.ancestry.broken_at
        return f"broken at {at.short if at else 'the model itself'} [{self.ancestry.check}]: {self.ancestry.reason}"

    def to_json(self) -> dict[str, JSON]:
        """Return one item of `weighbridge.claims/1`."""
        return {
            "ancestry": self.ancestry.to_json(),
            "answer": self.answer,
            "links": [link.to_json() for link in self.links],
            "evaluations": [one.to_json() for one in self.evaluations],
            "left_out": self.left_out,
        }


def explain(manifest: Digest, weights: Digest | None, facts: Sequence[ClaimFact]) -> Explanation:
    """Explain the ancestry that `chain.walk` finds for the same arguments. Never raises."""
    index = Index(facts)
    graph = discover(Node(manifest, "model"), weights, index)
    ancestry, proven = walk_graph(graph, index)
    links = _links(graph, proven, index)
    told = sorted(index.about(ancestry.equal, Stage.EVALUATE), key=lambda fact: not fact.verified)
    evaluations = tuple(_evaluation(fact) for fact in told[:MAX_SHOWN])
    return Explanation(ancestry, tuple(links[:MAX_SHOWN]), evaluations, max(0, len(links) - MAX_SHOWN))


def lines(
    explanation: Explanation, called: Callable[[Digest], str] = lambda digest: digest.short
) -> list[str]:
    """Return an explanation as lines for people; `called` gives what to call an identity, safe to print."""
    text = []
    for link in explanation.links:
        indent = "  " * link.depth
        how = f"{link.relation}: " if link.relation else ""
        state = "as above" if link.again else _state(link)
        text.append(f"{indent}{how}{link.kind} {called(link.digest)}  {state}")
        text += [f"{indent}    {_said(one)}" for one in link.said]
        if link.unsaid:
            text.append(f"{indent}    and {link.unsaid} claims more")
        if link.missing:
            text.append(f"{indent}    missing: {link.missing} [{link.check}]")
    if explanation.left_out:
        text.append(f"and {explanation.left_out} links more")
    text += [f"evaluated: {_said(one)}" for one in explanation.evaluations]
    return [*text, explanation.answer]


def _state(link: Link) -> str:
    if not link.proven:
        return "not proven"
    return {"data": "proven: data", "origin": "proven: accepted origin"}.get(link.ends, "proven")


def _said(one: Said) -> str:
    signed = f"signed by {one.signer}" if one.signer else "with a signature nobody can read"
    if one.believed:
        return f"{one.stage.value} claim {signed}: {one.text}"
    return (
        f"{one.stage.value} claim {signed}, not believed: {one.text}{f' [{one.check}]' if one.check else ''}"
    )


def _links(graph: Graph, proven: dict[Node, Way | None], index: Index) -> list[Link]:
    """Lay the graph out as a tree, depth first; each node is opened once."""
    root = next(iter(graph.ways), None)
    found: list[Link] = []
    opened: set[Node] = set()
    stack = [(root, 0, "")] if root is not None else []
    while stack:
        node, depth, relation = stack.pop()
        if node in opened or node not in graph.ways:
            found.append(
                _closed(node, depth, relation, again=node in opened, proven=proven.get(node) is not None)
            )
            continue
        opened.add(node)
        found.append(_link(node, depth, relation, graph=graph, proven=proven, index=index))
        parents: dict[tuple[Node, str], None] = {}
        for way in graph.ways[node]:
            for parent in way.parents:
                parents[parent, relation_of(way.fact, parent.digest)] = None
        stack += [(parent, depth + 1, how) for parent, how in reversed(parents)]
    return found


def _closed(node: Node, depth: int, relation: str, *, again: bool, proven: bool) -> Link:
    """Return a link that is not opened here: it stands further up, or the budget was spent before it."""
    lacks, check = ("", "") if again else ("it was not looked at: the ancestry is too large", "chain.budget")
    return Link(
        digest=node.digest, kind=node.kind, depth=depth, relation=relation, proven=proven, ends="", said=(),
        missing=lacks, check=check, again=again,
    )  # fmt: skip


def _link(
    node: Node, depth: int, relation: str, *, graph: Graph, proven: dict[Node, Way | None], index: Index
) -> Link:
    way = proven.get(node)
    carried = graph.carried[node]
    facts: dict[int, ClaimFact] = {}
    for stage in _OF_KIND[node.kind]:
        facts |= {id(fact): fact for fact in index.about((node.digest, *carried), stage)}
    ordered = sorted(facts.values(), key=lambda fact: not fact.verified)
    lacks, check = "", ""
    if way is None:
        lacks, check = _lacks(node, carried, graph, index)
    return Link(
        digest=node.digest,
        kind=node.kind,
        depth=depth,
        relation=relation,
        proven=way is not None,
        ends=way.ends if way else "",
        said=tuple(_claim(fact) for fact in ordered[:MAX_SAID]),
        missing=lacks,
        check=check,
        unsaid=max(0, len(ordered) - MAX_SAID),
    )


def _lacks(node: Node, carried: Sequence[Digest], graph: Graph, index: Index) -> tuple[str, str]:
    """Say what a node itself lacks; empty where only its parents are unproven."""
    ways = graph.ways[node]
    for way in ways:
        if way.problem:
            return way.problem, way.check
    return ("", "") if ways else missing(node, carried, index)


def _claim(fact: ClaimFact) -> Said:
    if not fact.verified:
        return Said(
            fact.stage,
            _signer(fact),
            fact.bundle,
            believed=False,
            text=fact.reason or "no reason",
            check=fact.check,
        )
    return Said(fact.stage, _signer(fact), fact.bundle, believed=True, text=_proves(fact))


def _signer(fact: ClaimFact) -> str:
    return str(fact.signer) if fact.signer else ""


def _proves(fact: ClaimFact) -> str:
    """Say in words what a believed claim proves."""
    detail = fact.detail
    if fact.stage is Stage.DATA:
        made = f", made of {len(fact.parents)} datasets" if fact.parents else ""
        return f"it comes from {detail.get('source')}, licence {detail.get('licence')}{made}"
    if fact.stage is Stage.ORIGIN:
        return f"accepted as received from {detail.get('publisher')}, until {detail.get('expires')}"
    if fact.stage is Stage.CONVERT:
        proof = "with proof of equal tensors" if proven_same(fact) else "without proof of equal tensors"
        return f"converted from {', '.join(parent.short for parent in fact.parents)}, {proof}"
    if fact.stage is Stage.PACKAGE:
        return "these files and these weights belong together"
    return f"made by {detail.get('method', 'training')} from {len(fact.parents)} named ancestors"


def _evaluation(fact: ClaimFact) -> Said:
    if not fact.verified:
        return _claim(fact)
    about = ", ".join(digest.short for digest in fact.about)
    return Said(
        fact.stage,
        _signer(fact),
        fact.bundle,
        believed=True,
        text=f"{fact.detail.get('result')}, about {about}",
    )
