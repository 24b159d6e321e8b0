"""Licences of a kept model: what its files declare, what people concluded and signed, what it inherits, and what that asks for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from weighbridge.bom.harvest import harvest
from weighbridge.bom.licence_knowledge import knowledge, licence_of, read
from weighbridge.bom.licence_texts import MAX_TEXT
from weighbridge.bom.licence_walk import Link
from weighbridge.bom.licence_words import UNKNOWN, Alternative, Basis, Composition, Standing
from weighbridge.bom.licences import standing, text_files
from weighbridge.bom.obligations import compose
from weighbridge.core.alias import Alias, Scheme
from weighbridge.core.canonical import JSON
from weighbridge.core.digest import Digest
from weighbridge.core.errors import BadReference, WeighbridgeError
from weighbridge.core.evidence import LicenceFact
from weighbridge.core.lineage import Grade, Parentage, Relation
from weighbridge.core.manifest import FileEntry
from weighbridge.core.tier import Origin, Role, Stage
from weighbridge.gate.conclusions import Conclusion, concluded
from weighbridge.registry import models
from weighbridge.registry.wiring import Registry
from weighbridge.store import lineage_walks, schema

MAX_EDGES = 20_000
"""Edges above one model that are composed over; with more, nothing can be told, and that blocks."""


@dataclass(frozen=True, slots=True)
class Licences:
    """What is known of the licences of one model: its own by each source, and what composing came to."""

    model: Digest
    label: str
    declared: Standing
    concluded: Conclusion | None
    composition: Composition

    @property
    def fact(self) -> LicenceFact:
        """Return the fact that policies see."""
        found = self.composition
        duties = sorted({duty.term.duty.value for duty in found.obligations})
        return LicenceFact(
            declared=self.declared.text,
            concluded=self.concluded.licence if self.concluded else "",
            inherited=found.inherited,
            duties=tuple(duties),
            obligations=tuple(duty.to_json() for duty in found.obligations),
            findings=tuple(finding.to_json() for finding in found.findings),
            knowledge=knowledge().digest,
        )

    def to_json(self) -> dict[str, JSON]:
        """Return one item of `weighbridge.licence/1`."""
        said, fact = self.declared, self.fact.to_json()
        declared: dict[str, JSON] = {"licence": said.text, "basis": said.basis.value, "place": said.place}
        return {
            **fact,
            "model": str(self.model),
            "label": self.label,
            "declared": declared,
            "concluded": self.concluded.to_json() if self.concluded else None,
            "chosen": [{"node": str(node), "licence": text} for node, text in self.composition.chosen],
        }


def licences_of(registry: Registry, model: models.Model) -> Licences:
    """Compose the licences of a kept model over everything the lineage knows above it.

    With a lineage of more than `MAX_EDGES` edges nothing can be told: its licence is then unknown.
    """
    weights = [model.manifest.weights] if model.manifest.weights else []
    with registry.records.read() as connection:
        edges = lineage_walks.edges_above(connection, [model.digest, *weights], limit=MAX_EDGES + 1)
    spent = len(edges) > MAX_EDGES
    walked = _Walk(registry, model, edges)
    standings = walked.standings()
    if spent:
        too_many = read(f"a lineage of more than {MAX_EDGES} edges")
        standings[model.digest] = replace(standings[model.digest], alternatives=too_many)
    composition = compose(model.digest, standings, walked.links())
    declared = walked.declared(model)
    return Licences(model.digest, model.label, declared, walked.concluded.get(model.digest), composition)


class _Walk:
    """Finds, for each node above one model, under which licence it stands."""

    def __init__(self, registry: Registry, model: models.Model, edges: Sequence[Parentage]) -> None:
        self.registry = registry
        self.model = model
        self.edges = edges[:MAX_EDGES]
        self.nodes = sorted({model.digest, *(d for edge in self.edges for d in (edge.parent, edge.child))})
        self.labels = self._labels()
        self.packages = self._packages()
        asked = sorted({*self.nodes, *(one for group in self.packages.values() for one in group)})
        self.concluded = concluded(registry, asked)
        self._declared: dict[Digest, Standing] = {}

    def links(self) -> list[Link]:
        """Return the edges; a declared one counts in full only when it stands in a bill of materials of our own."""
        sources = {edge.source for edge in self.edges if edge.grade is Grade.DECLARED and edge.source}
        ours = self._by_intake(sources)
        return [
            Link(edge, edge.grade is not Grade.DECLARED or not edge.source or edge.source in ours)
            for edge in self.edges
        ]

    def standings(self) -> dict[Digest, Standing]:
        """Return the standing of each node that has one."""
        found = {node: one for node in self.nodes if (one := self._standing(node)) is not None}
        if self.model.digest not in found:
            found[self.model.digest] = Standing(self.model.label, "", (), Basis.NONE)
        return found

    def declared(self, model: models.Model) -> Standing:
        """Return what the files of a kept model say, read once."""
        if model.digest not in self._declared:
            self._declared[model.digest] = _declared(self.registry, model)
        return self._declared[model.digest]

    def _standing(self, node: Digest) -> Standing | None:
        if node.algorithm == "wbw1":
            return self._weights(node)
        if node in self.concluded:
            return self._by_person(node)
        if node.algorithm == "alias":
            return self._named(node)
        model = models.find(self.registry, node)
        if model is None:
            return Standing(self._label(node), "", ((UNKNOWN,),), Basis.NONE)
        said = self.declared(model)
        if said.alternatives or model.origin is Origin.OWN or self._made_here(model):
            return said
        return replace(said, alternatives=((UNKNOWN,),))

    def _made_here(self, model: models.Model) -> bool:
        """Tell whether somebody the authority names made it from something: then it stands under what that stands under."""
        own = {model.digest, model.manifest.weights}
        return any(
            edge.child in own and edge.grade is Grade.ATTESTED and edge.relation is not Relation.PACKAGING
            for edge in self.edges
        )

    def _by_person(self, node: Digest) -> Standing:
        said = self.concluded[node]
        model = models.find(self.registry, node) if node == self.model.digest else None
        against = ""
        if model is not None and (files := self.declared(model)).basis is Basis.TEXT:
            ids = {licence.id for each in files.alternatives for licence in each}
            if not ids & {licence.id for each in read(said.licence) for licence in each}:
                against = f"{files.place} is {files.text}, {said.licence} was concluded"
        return Standing(
            self._label(node), said.licence, read(said.licence), Basis.CONCLUDED, str(said.bundle), against
        )

    def _named(self, node: Digest) -> Standing | None:
        """Return what the name of a base says; nothing once it is bound to something whose own licence is asked."""
        if any(edge.child == node and edge.relation is Relation.SAME_AS for edge in self.edges):
            return None
        label = self._label(node)
        licence = knowledge().of_base(_base_name(label))
        if not licence:
            return Standing(label, "", ((UNKNOWN,),), Basis.NONE)
        return Standing(label, licence, ((licence_of(licence),),), Basis.NAMED, label)

    def _weights(self, node: Digest) -> Standing | None:
        """Return what the models that carry these weights say: a person's word first, else all of what they declare.

        The model that is asked about speaks for itself, not for its weights. Weights of our own making say nothing.
        """
        others = [one for one in self.packages.get(node, ()) if one != self.model.digest]
        told = [self._by_person(one) for one in others if one in self.concluded]
        direct = self.concluded.get(node)
        if direct is not None and not {self.model.digest, *others} & set(direct.about):
            told.append(self._by_person(node))
        if node == self.model.manifest.weights:
            return _all_of(told) if told else None
        told = told or [one for other in others if (one := self._standing(other)) is not None]
        if told:
            return _all_of(told)
        if any(edge.child == node for edge in self.edges) or self.packages.get(node):
            return None
        return Standing(self._label(node), "", ((UNKNOWN,),), Basis.NONE)

    def _label(self, node: Digest) -> str:
        return self.labels.get(node) or node.short

    def _labels(self) -> dict[Digest, str]:
        found: dict[Digest, str] = {}
        table = schema.artifact
        with self.registry.records.read() as connection:
            for part in _parts(self.nodes):
                query = sa.select(table.c.digest, table.c.label).where(table.c.digest.in_(part))
                found |= {Digest.parse(digest): label for digest, label in connection.execute(query) if label}
        kept = models.standings(self.registry, self.nodes)
        return found | {node: one.label for node, one in kept.items() if one.label}

    def _packages(self) -> dict[Digest, list[Digest]]:
        """Return the kept models that carry each of the weights met."""
        weights = [node for node in self.nodes if node.algorithm == "wbw1"]
        table = schema.model
        found: dict[Digest, list[Digest]] = {}
        with self.registry.records.read() as connection:
            for part in _parts(weights):
                query = sa.select(table.c.weights, table.c.digest).where(
                    table.c.project == self.registry.project, table.c.weights.in_(part)
                )
                for text, digest in connection.execute(query.order_by(table.c.digest)):
                    found.setdefault(Digest.parse(text), []).append(Digest.parse(digest))
        return found

    def _by_intake(self, sources: Iterable[str]) -> set[str]:
        """Return those of the bundles that are bills of materials by an identity the authority names for that."""
        registry, table = self.registry, schema.bundle
        found: set[str] = set()
        with registry.records.read() as connection:
            for part in _parts(sorted(sources)):
                query = sa.select(table.c.digest, table.c.signer).where(
                    table.c.digest.in_(part), table.c.stage == Stage.BOM.value
                )
                for digest, signer in connection.execute(query):
                    named = registry.authority.identity_for(Digest.parse(signer))
                    if named and registry.authority.may(named.name, Role.BOM, registry.project):
                        found.add(digest)
        return found


def _declared(registry: Registry, model: models.Model) -> Standing:
    """Read what a model's files say; files that cannot be read say nothing that could be relied on."""

    def open_file(entry: FileEntry) -> Any:
        return models.open_blob(registry, entry)

    try:
        facts = harvest(model.manifest, open_file)
        texts: dict[str, str] = {}
        for path in text_files(facts):
            entry = model.manifest.entry(path)
            if entry is not None and entry.size <= MAX_TEXT:
                with models.open_blob(registry, entry) as stream:
                    texts[path] = stream.read().decode("utf-8", "replace")
    except WeighbridgeError as error:
        return Standing(model.label, "", read(f"unreadable: {error.problem}"), Basis.NONE)
    return standing(facts, texts, model.label)


def _all_of(told: Sequence[Standing]) -> Standing:
    """Join what several models with the same weights say: one and the same, or all of it at once."""
    first = told[0]
    if len({one.text for one in told}) == 1:
        return first
    joined: list[Alternative] = [()]
    for one in told[:8]:
        joined = [(*have, *each) for have in joined for each in one.alternatives or ((),)][:64]
    alternatives = tuple(tuple(dict.fromkeys(each)) for each in joined)
    text = " AND ".join(dict.fromkeys(f"({one.text})" for one in told if one.text))
    return Standing(first.label, text, alternatives, first.basis, first.place)


def _base_name(label: str) -> str:
    """Return `org/name` of an alias's text: a name, or a package URL of the hub."""
    try:
        alias = Alias.parse(label)
    except BadReference:
        return label
    if alias.scheme is Scheme.PURL:
        return alias.value.removeprefix("pkg:huggingface/").partition("@")[0].partition("?")[0]
    return alias.value.partition("@")[0] if alias.scheme is Scheme.NAME else ""


def _parts(values: Sequence[Any]) -> Iterable[list[str]]:
    for start in range(0, len(values), 500):
        yield [str(value) for value in values[start : start + 500]]
