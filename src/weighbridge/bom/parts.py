"""The pieces of an ML-BOM: files, datasets, parents, the model card."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from weighbridge.bom.harvest import Facts
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
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class Ancestor:
    """One parent: name, relation or None when nobody said, grade, identity or None, and who said so."""

    name: str
    relation: Relation | None
    grade: Grade
    identity: Digest | None = None
    purl: str = ""
    place: str = ""

    @property
    def ref(self) -> str:
        """The bom-ref of its component."""
        return f"parent:{self.identity or self.name}"


def ancestors_of(facts: Facts, parents: Sequence[Mapping[str, JSON]]) -> tuple[Ancestor, ...]:
    """Return the given parents and those the model only declares; the surer of two of one name wins."""
    given = [_given(row) for row in parents]
    names = {ancestor.name for ancestor in given}
    relations = facts.texts("base_model_relation")
    relation = DECLARED_RELATIONS.get(relations[0]) if relations else None
    for fact_name, assumed in (
        ("base_model", relation),
        ("adapter.base_model_name_or_path", Relation.ADAPTER),
    ):
        fact = facts.get(fact_name)
        for name in facts.texts(fact_name) if fact else ():
            if name not in names and fact:
                names.add(name)
                given.append(Ancestor(name, assumed, Grade.DECLARED, place=fact.place))
    unique = {ancestor.ref: ancestor for ancestor in sorted(given, key=lambda a: -a.grade.rank)}
    return tuple(unique[ref] for ref in sorted(unique))


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
        )
    except (KeyError, ValueError) as error:
        raise Refused(
            "a parent cannot be described",
            cause=f"it needs evidence (attested, observed or declared), and a known relation if any: {error}",
            remedy="give identity, name, relation and evidence",
            check="bom.parent",
        ) from error


def parent_component(ancestor: Ancestor) -> dict[str, JSON]:
    """Return the top-level component of a parent."""
    component: dict[str, JSON] = {
        "type": "data" if ancestor.relation is Relation.DATASET else "machine-learning-model",
        "bom-ref": ancestor.ref,
        "name": ancestor.name,
    }
    return {**component, **_ancestor_facts(ancestor)}


def pedigree_entry(ancestor: Ancestor) -> dict[str, JSON]:
    """Return the same parent as it stands in `pedigree.ancestors`; CycloneDX has no typed edge, hence properties."""
    component = parent_component(ancestor)
    component.pop("bom-ref")
    rows = component["properties"]
    assert isinstance(rows, list)
    return {**component, "properties": [*rows, prop("weighbridge:ref", ancestor.ref)]}


def _ancestor_facts(ancestor: Ancestor) -> dict[str, JSON]:
    properties: list[JSON] = [prop("weighbridge:evidence", ancestor.grade.value)]
    result: dict[str, JSON] = {}
    if ancestor.identity is not None:
        result["hashes"] = [{"alg": "SHA-256", "content": ancestor.identity.hex}]
        properties.append(prop("weighbridge:identity", str(ancestor.identity)))
    if ancestor.purl:
        result["purl"] = ancestor.purl
    if ancestor.relation is not None:
        properties.append(prop("weighbridge:relation", ancestor.relation.value))
    if ancestor.place:
        properties.append(prop("weighbridge:source", ancestor.place))
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
    roles: dict[str, str] = {}
    for fact_name, role in names.items():
        for fact in facts.every(fact_name):
            roles[fact.path] = role
    return roles


def dataset_components(facts: Facts) -> list[dict[str, JSON]]:
    """Return the datasets the card declares: names only, since nothing binds them to bytes."""
    fact = facts.get("datasets")
    return [
        {
            "type": "data",
            "bom-ref": f"dataset:{name}",
            "name": name,
            "data": [{"type": "dataset", "name": name}],
            "properties": [
                prop("weighbridge:evidence", Grade.DECLARED.value),
                prop("weighbridge:source", fact.place if fact else ""),
            ],
        }
        for name in sorted(set(facts.texts("datasets")))
    ]


def template_components(facts: Facts) -> list[dict[str, JSON]]:
    """Return chat templates that sit inside another file, by the digest of their text."""
    return [
        {
            "type": "data",
            "bom-ref": f"chat-template:{fact.place}",
            "name": f"chat template in {fact.place}",
            "hashes": [{"alg": "SHA-256", "content": str(fact.value).partition(":")[2]}],
            "data": [{"type": "configuration", "name": f"chat template in {fact.place}"}],
            "properties": [prop("weighbridge:role", "chat-template")],
        }
        for fact in facts.every("chat_template")
        if fact.pointer
    ]


def model_card(facts: Facts) -> dict[str, JSON]:
    """Return the model card: what is known, and for each field its grade and place."""
    parameters: dict[str, JSON] = {}
    for field, name in (
        ("task", "pipeline_tag"),
        ("architectureFamily", "model_type"),
        ("modelArchitecture", "architectures"),
    ):
        texts = facts.texts(name)
        if texts:
            parameters[field] = ", ".join(texts)
    datasets: list[JSON] = [{"ref": str(row["bom-ref"])} for row in dataset_components(facts)]
    if datasets:
        parameters["datasets"] = datasets
    properties: list[JSON] = []
    for fact in sorted(facts.facts, key=lambda f: (f.name, f.place)):
        if fact.name != "datasets":  # these are components already
            properties += [
                prop(f"weighbridge:fact:{name}", value) for name, value in _flat(fact.name, fact.value)
            ]
        properties.append(prop(f"weighbridge:source:{fact.name}", f"{fact.grade.value} {fact.place}"))
    properties += [prop("weighbridge:unread", f"{path}: {reason}") for path, reason in facts.unread]
    card: dict[str, JSON] = {}
    if parameters:
        card["modelParameters"] = parameters
    if properties:
        card["properties"] = properties
    return card


def _flat(name: str, value: JSON) -> list[tuple[str, str]]:
    if isinstance(value, Mapping):
        return [(f"{name}:{key}", str(value[key])) for key in sorted(value)]
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [(name, str(item)) for item in value]
    return [(name, str(value))]


def purl_of(source: Mapping[str, JSON]) -> str:
    """Return the purl of a hub repository at a full commit, or an empty string: a tag is no identity."""
    repository = str(source.get("repository") or source.get("repo") or "")
    commit = str(source.get("commit") or "")
    if not repository or not _COMMIT.fullmatch(commit):
        return ""
    from packageurl import PackageURL

    namespace, _, name = repository.rpartition("/")
    endpoint = str(source.get("endpoint") or "")
    elsewhere = endpoint and endpoint.rstrip("/") not in ("https://huggingface.co", "https://hf.co")
    qualifiers = {"repository_url": endpoint} if elsewhere else None
    return PackageURL("huggingface", namespace or None, name, commit, qualifiers).to_string()


def prop(name: str, value: str) -> dict[str, JSON]:
    """Return one CycloneDX property."""
    return {"name": name, "value": value}
