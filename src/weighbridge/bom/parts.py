"""The pieces of an ML-BOM: files, parents, datasets, packages, claims, the purl. Each value is wrapped with its source."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from weighbridge.bom.attested import VerifiedClaim
from weighbridge.bom.facts import Fact, Facts, Requirement
from weighbridge.bom.sourced import INTAKE, Said, Source, said
from weighbridge.core.canonical import JSON
from weighbridge.core.digest import Digest
from weighbridge.core.errors import Refused
from weighbridge.core.lineage import Grade, Relation
from weighbridge.core.manifest import FileEntry, is_weight_file

DECLARED_RELATIONS = {
    "adapter": Relation.ADAPTER,
    "finetune": Relation.FINE_TUNE,
    "merge": Relation.MERGE,
    "quantized": Relation.QUANTIZATION,
}
"""The hub's words for `base_model_relation`; any other word is left out rather than translated."""
NAMED_PARENTS: Mapping[str, Relation | None] = {
    "base_model": None,
    "adapter.base_model_name_or_path": Relation.ADAPTER,
    "merge.base_model": Relation.MERGE,
    "merge.model": Relation.MERGE,
    "gguf.base_model": None,
}
"""Facts that name parents, and the relation that follows from where they stand."""
_COMMIT = re.compile(r"[0-9a-f]{40}")
HUBS = ("https://huggingface.co", "https://hf.co")


@dataclass(frozen=True, slots=True)
class Ancestor:
    """One parent: name, relation or None when nobody said, grade, identity or None, and who said so."""

    name: str
    relation: Relation | None
    grade: Grade
    identity: Digest | None = None
    purl: str = ""
    place: str = f"{INTAKE}#/parents"
    also: tuple[str, ...] = ()
    """Further places that say the same."""

    @property
    def ref(self) -> str:
        """The bom-ref of its component."""
        return f"parent:{self.identity or self.name}"

    @property
    def source(self) -> Source:
        """How sure it is, and where it stands."""
        return Source(self.grade, self.place)


def ancestors_of(
    facts: Facts, parents: Sequence[Mapping[str, JSON]], claims: Sequence[VerifiedClaim] = ()
) -> tuple[Ancestor, ...]:
    """Return the parents that were given, those that claims name, and those the model only declares.

    The surer of two of one name wins; what several files declare alike is one parent with several places.
    Datasets are no ancestors.
    """
    known = [_given(row) for row in parents]
    for claim in claims:
        known += [
            Ancestor(
                one.name or str(one.identity),
                one.relation,
                Grade.ATTESTED,
                one.identity,
                place=str(claim.bundle),
            )
            for one in claim.inputs
            if one.relation is not Relation.DATASET
        ]
    unique: dict[str, Ancestor] = {}
    for ancestor in sorted(known, key=lambda a: a.grade.rank):
        unique.setdefault(ancestor.ref, ancestor)
    names = {ancestor.name for ancestor in unique.values()}
    for ancestor in _declared(facts):
        if ancestor.name not in names:
            unique[ancestor.ref] = ancestor
    return tuple(unique[ref] for ref in sorted(unique))


def _declared(facts: Facts) -> list[Ancestor]:
    relations = facts.texts("base_model_relation")
    spoken = DECLARED_RELATIONS.get(relations[0]) if relations else None
    found: dict[str, Ancestor] = {}
    for kind, relation in NAMED_PARENTS.items():
        for fact in facts.every(kind):
            values = fact.value if isinstance(fact.value, list) else [fact.value]
            for value in values:
                for name, own in _names(str(value), relation, merged=kind.startswith("merge.")):
                    meant = own or (spoken if kind == "base_model" else None)
                    first = found.get(name)
                    if first is None:
                        found[name] = Ancestor(name, meant, Grade.DECLARED, place=fact.place)
                    elif fact.place not in (first.place, *first.also):
                        found[name] = Ancestor(
                            name, first.relation or meant, Grade.DECLARED, place=first.place,
                            also=(*first.also, fact.place),
                        )  # fmt: skip
    return list(found.values())


def _names(text: str, relation: Relation | None, *, merged: bool) -> list[tuple[str, Relation | None]]:
    """Return the parents in one name: merge recipes write `model+adapter` for an adapter applied first."""
    base, plus, adapter = text.partition("+")
    return (
        [(base, relation), (adapter, Relation.ADAPTER)] if merged and plus and adapter else [(text, relation)]
    )


def _given(row: Mapping[str, JSON]) -> Ancestor:
    try:
        identity = Digest.parse(str(row["identity"])) if row.get("identity") else None
        relation = Relation(str(row["relation"])) if row.get("relation") else None
        return Ancestor(
            str(row.get("name") or identity),
            relation,
            Grade(str(row["evidence"])),
            identity,
            str(row.get("purl", "")),
            str(row.get("source") or f"{INTAKE}#/parents"),
        )
    except (KeyError, ValueError) as error:
        raise Refused(
            "a parent cannot be described",
            cause=f"it needs evidence (attested, observed or declared), and a known relation if any: {error}",
            remedy="give identity, name, relation and evidence",
            check="bom.parent",
        ) from error


def parent_component(ancestor: Ancestor) -> Said:
    """Return the top-level component of a parent."""
    kind = "data" if ancestor.relation in (Relation.DATASET, Relation.TOKENIZER) else "machine-learning-model"
    component: dict[str, Any] = {"type": kind, "bom-ref": ancestor.ref, "name": ancestor.name}
    return Said({**component, **_ancestor_facts(ancestor)}, ancestor.source)


def pedigree_entry(ancestor: Ancestor) -> Said:
    """Return the same parent as it stands in `pedigree.ancestors`; CycloneDX has no typed edge, hence properties."""
    component = dict(parent_component(ancestor).value)
    component.pop("bom-ref")
    rows = [*component["properties"], prop("weighbridge:ref", ancestor.ref)]
    return Said({**component, "properties": rows}, ancestor.source)


def _ancestor_facts(ancestor: Ancestor) -> dict[str, Any]:
    properties: list[JSON] = [prop("weighbridge:evidence", ancestor.grade.value)]
    result: dict[str, JSON] = {}
    if ancestor.identity is not None:
        result["hashes"] = [{"alg": "SHA-256", "content": ancestor.identity.hex}]
        properties.append(prop("weighbridge:identity", str(ancestor.identity)))
    if ancestor.purl:
        result["purl"] = ancestor.purl
    if ancestor.relation is not None:
        properties.append(prop("weighbridge:relation", ancestor.relation.value))
    properties += [prop("weighbridge:source", place) for place in (ancestor.place, *ancestor.also)]
    return {**result, "properties": properties}


def file_component(entry: FileEntry, roles: Mapping[str, str]) -> dict[str, JSON]:
    """Return one file of the model; Python source is marked as required, because loading may run it."""
    role = roles.get(entry.path) or ("weights" if is_weight_file(entry.path) else "")
    properties: list[JSON] = [prop("weighbridge:size", str(entry.size))]
    component: dict[str, JSON] = {
        "type": "file",
        "bom-ref": f"file:{entry.path}",
        "name": entry.path,
        "hashes": [{"alg": "SHA-256", "content": entry.sha256.hex}],
    }
    if entry.path.endswith(".py"):
        component["scope"] = "required"
        role = "code"
    if role:
        properties.append(prop("weighbridge:role", role))
    return {**component, "properties": properties}


def roles_of(facts: Facts) -> dict[str, str]:
    """Return the role of each file that a fact names: tokenizer, chat-template, licence."""
    names = {"license_text": "licence", "chat_template": "chat-template", "tokenizer": "tokenizer"}
    return {
        fact.path: names[fact.name]
        for name in names
        for fact in facts.facts
        if fact.name == name and not fact.path.endswith(".gguf")
    }


def dataset_components(facts: Facts, claims: Sequence[VerifiedClaim]) -> list[Said]:
    """Return the datasets: attested ones with their digest and what their own claim says, declared ones as names."""
    own = {claim.about: claim for claim in claims if claim.about is not None}
    rows: dict[str, Said] = {}
    for claim in claims:
        for one in claim.inputs:
            if one.relation is Relation.DATASET:
                rows[f"dataset:{one.identity}"] = _attested_dataset(
                    one.identity, one.name, claim, own.get(one.identity)
                )
    fact = facts.get("datasets")
    for name in sorted(set(facts.texts("datasets"))) if fact else ():
        place = fact.place if fact else ""
        properties = [prop("weighbridge:evidence", Grade.DECLARED.value), prop("weighbridge:source", place)]
        component = {
            "type": "data",
            "bom-ref": f"dataset:{name}",
            "name": name,
            "data": [{"type": "dataset", "name": name}],
            "properties": properties,
        }
        rows[f"dataset:{name}"] = said(component, Grade.DECLARED, place)
    return [rows[ref] for ref in sorted(rows)]


def _attested_dataset(identity: Digest, name: str, claim: VerifiedClaim, own: VerifiedClaim | None) -> Said:
    called = name or str(identity)
    component: dict[str, Any] = {
        "type": "data",
        "bom-ref": f"dataset:{identity}",
        "name": called,
        "hashes": [{"alg": "SHA-256", "content": identity.hex}],
        "data": [{"type": "dataset", "name": called}],
        "properties": [
            prop("weighbridge:evidence", Grade.ATTESTED.value),
            prop("weighbridge:identity", str(identity)),
            prop("weighbridge:source", str(claim.bundle)),
        ],
    }
    if own is not None:
        place = str(own.bundle)
        if own.description:
            component["description"] = said(own.description, Grade.ATTESTED, place)
        if own.licence:
            licence = {"license": {"name": own.licence, "acknowledgement": "declared"}}
            component["licenses"] = said([licence], Grade.ATTESTED, place)
        if is_link(own.origin):
            links = [{"type": "source-distribution", "url": own.origin}]
            component["externalReferences"] = said(links, Grade.ATTESTED, place)
    return said(component, Grade.ATTESTED, str(claim.bundle))


def claim_components(claims: Sequence[VerifiedClaim]) -> list[Said]:
    """Return one file component for each verified claim: the signed bundle that values are attributed to."""
    rows = {}
    for claim in claims:
        component = {
            "type": "file",
            "bom-ref": claim.ref,
            "name": f"claim {claim.stage.value} by {claim.signer}",
            "hashes": [{"alg": "SHA-256", "content": claim.bundle.hex}],
            "properties": [prop("weighbridge:role", "claim"), prop("weighbridge:signer", claim.signer)],
        }
        rows[claim.ref] = said(component, Grade.ATTESTED, str(claim.bundle))
    return [rows[ref] for ref in sorted(rows)]


def package_component(row: Requirement) -> Said:
    """Return a package the model asks for, with its purl when it is one of the Python index."""
    component: dict[str, Any] = {
        "type": "framework" if row.framework else "library",
        "bom-ref": package_ref(row),
        "name": row.name,
    }
    properties = [prop("weighbridge:evidence", Grade.DECLARED.value), prop("weighbridge:source", row.place)]
    if row.version:
        component["version"] = row.version
    if row.indexed:
        component["purl"] = purl_of_package(row)
    if row.asked:
        properties.append(prop("weighbridge:requirement", row.asked))
    if row.hashes:
        component["hashes"] = [{"alg": "SHA-256", "content": digest} for digest in row.hashes]
    return said({**component, "properties": properties}, Grade.DECLARED, row.place)


def package_ref(row: Requirement) -> str:
    """Return the bom-ref of a package."""
    at = f"@{row.version}" if row.version else f" {row.asked}".rstrip()
    return f"package:{row.name}{at}"


def purl_of_package(row: Requirement) -> str:
    """Return the package URL: the type pypi writes names normalised (purl types, pypi)."""
    from packageurl import PackageURL

    return PackageURL("pypi", None, row.name, row.version or None).to_string()


def remote_code(facts: Facts) -> list[Said]:
    """Return the repositories whose code `auto_map` asks for (`org/name--module.Class`): names without bytes."""
    rows: dict[str, Said] = {}
    for fact in facts.facts:
        if not fact.name.startswith("auto_map:"):
            continue
        for value in fact.value if isinstance(fact.value, list) else [fact.value]:
            repository, marked, _ = str(value).partition("--")
            if not marked or not repository:
                continue
            properties = [
                prop("weighbridge:evidence", Grade.DECLARED.value),
                prop("weighbridge:role", "remote-code"),
                prop("weighbridge:source", fact.place),
            ]
            component = {
                "type": "library",
                "bom-ref": f"code:{repository}",
                "name": repository,
                "properties": properties,
            }
            rows.setdefault(repository, said(component, Grade.DECLARED, fact.place))
    return [rows[name] for name in sorted(rows)]


def template_components(facts: Facts) -> list[Said]:
    """Return chat templates that sit inside another file, by the digest of their text."""
    return [
        said(
            {
                "type": "data",
                "bom-ref": f"chat-template:{fact.place}",
                "name": f"chat template in {fact.place}",
                "hashes": [{"alg": "SHA-256", "content": str(fact.value).partition(":")[2]}],
                "data": [{"type": "configuration", "name": f"chat template in {fact.place}"}],
                "properties": [prop("weighbridge:role", "chat-template")],
            },
            Grade.OBSERVED,
            fact.place,
        )
        for fact in facts.facts
        if fact.name == "chat_template" and fact.pointer
    ]


def purl_of(source: Mapping[str, JSON]) -> str:
    """Return the purl of a hub repository at a full commit, or an empty string: a tag is no identity."""
    repository = str(source.get("repository") or source.get("repo") or "")
    commit = str(source.get("commit") or "")
    if not repository or not _COMMIT.fullmatch(commit):
        return ""
    from packageurl import PackageURL

    namespace, _, name = repository.rpartition("/")
    endpoint = str(source.get("endpoint") or "")
    elsewhere = endpoint and endpoint.rstrip("/") not in HUBS
    qualifiers = {"repository_url": endpoint} if elsewhere else None
    return PackageURL("huggingface", namespace or None, name, commit, qualifiers).to_string()


def links_of(facts: Facts, source: Mapping[str, JSON], card: FileEntry | None, serial: str) -> list[Said]:
    """Return the external references: the card in this document, the repository at its commit, papers and DOIs of tags."""
    rows: list[Said] = []
    if card is not None:
        url = f"urn:cdx:{serial.lower()}/1#{quote(f'file:{card.path}', safe='')}"
        hashes = [{"alg": "SHA-256", "content": card.sha256.hex}]
        rows.append(said({"type": "model-card", "url": url, "hashes": hashes}, Grade.OBSERVED, card.path))
    repository, commit = str(source.get("repository") or ""), str(source.get("commit") or "")
    endpoint = str(source.get("endpoint") or "").rstrip("/")
    if is_link(endpoint) and repository and _COMMIT.fullmatch(commit):
        url = f"{endpoint}/{quote(repository)}/tree/{commit}"
        rows.append(said({"type": "distribution", "url": url}, Grade.DECLARED, f"{INTAKE}#/repository"))
    fact: Fact | None = facts.get("tags")
    for tag in facts.texts("tags") if fact else ():
        scheme, _, value = tag.partition(":")
        base = {"arxiv": "https://arxiv.org/abs/", "doi": "https://doi.org/"}.get(scheme)
        if base and fact and re.fullmatch(r"[A-Za-z0-9./_()-]{1,100}", value):
            rows.append(said({"type": "documentation", "url": base + value}, Grade.DECLARED, fact.place))
    return rows


def is_link(text: str) -> bool:
    """Whether a text may stand as a link in a document."""
    return text.startswith(("https://", "http://")) and text.isascii() and not set(text) & set(' <>"{}|\\^`')


def prop(name: str, value: str) -> dict[str, JSON]:
    """Return one CycloneDX property."""
    return {"name": name, "value": value}
