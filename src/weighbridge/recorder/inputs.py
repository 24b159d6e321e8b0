"""What a run reads: hashed before it starts, held against who signed it, and hashed again at its end."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from weighbridge.claims.words import Parent
from weighbridge.core.canonical import JSON
from weighbridge.core.digest import Digest
from weighbridge.core.errors import Refused, UsageError, VerificationFailed, WeighbridgeError
from weighbridge.core.evidence import Proven
from weighbridge.core.lineage import Relation
from weighbridge.core.manifest import Manifest
from weighbridge.gate.signatures import signatures_of
from weighbridge.recorder.trust import Trust
from weighbridge.source.datasets import DatasetFacts, identify, look
from weighbridge.source.local import open_folder
from weighbridge.source.tree import listed
from weighbridge.trust.bundle import Bundle

_CACHE = re.compile(r"(?:^|/)(?:cache|tmp)[\w-]*(?:\.arrow)?$")
_CACHED = "Hugging Face's datasets keeps what `map` made beside the data: give map cache_file_name=…, or work on a copy"


@dataclass(frozen=True, slots=True)
class Input:
    """One folder or file that a run reads, and how its output comes from it; `bundle` is where its claim lies.

    Without a `relation`, what is given as an input is a dataset and what is given as a model stands in the relation of
    the stage. `name` is for people; the folder's own name otherwise.
    """

    path: Path
    relation: Relation = Relation.DATASET
    name: str = ""
    bundle: Path | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", Path(self.path))  # scripts give paths as text too
        object.__setattr__(self, "relation", Relation(self.relation))
        object.__setattr__(self, "bundle", Path(self.bundle) if self.bundle is not None else None)

    @property
    def is_dataset(self) -> bool:
        """Tell whether it is data, which must be signed, and not a model or a tokenizer."""
        return self.relation is Relation.DATASET


@dataclass(frozen=True, slots=True)
class Read:
    """An input that was read: its identity, what was seen of it, and who signed it, if anybody did."""

    input: Input
    manifest: Manifest
    facts: DatasetFacts | None = None
    proven: Proven | None = None
    beside: tuple[str, ...] = ()
    """Files in the folder that hold its signature and are no part of it."""

    @property
    def identity(self) -> Digest:
        """What a claim names it by: a dataset and a tokenizer by all files, a model by its weights."""
        whole = self.input.is_dataset or self.input.relation is Relation.TOKENIZER
        return self.manifest.digest if whole else self.manifest.weights or self.manifest.digest

    @property
    def parent(self) -> Parent:
        """What a claim says of it."""
        return Parent(self.identity, self.input.relation, self.input.name)

    def to_json(self) -> dict[str, JSON]:
        """Return the row of this input in a claim's record of its run."""
        row: dict[str, JSON] = {
            "name": self.input.name,
            "relation": self.input.relation.value,
            "identity": str(self.identity),
            "manifest": str(self.manifest.digest),
            "files": len(self.manifest.files),
            "size": self.manifest.size,
        }
        if self.input.is_dataset:
            row["signed_by"] = self.proven.signer.name if self.proven else ""
        if self.proven is not None:
            row["bundle"] = str(self.proven.bundle)
        return row | ({"observed": self.facts.to_json()} if self.facts else {})


def make_input(given: str | os.PathLike[str] | Input, relation: Relation) -> Input:
    """Return what was given as an Input with an absolute path and a name; raises UsageError for what is no path."""
    if isinstance(given, Input):
        found = given
    else:
        text = os.fspath(given)
        if text.startswith(("wb1:", "wbw1:", "hf:", "hf://", "s3://", "oci://", "models:/")):
            raise UsageError(
                f"a recorder reads files, and {text[:80]!r} is a name",
                cause="what is only named could be anything by the time it is read",
                remedy="fetch it first and give the folder: weighbridge pull prints one",
                check="recorder.input",
            )
        found = Input(Path(text), relation)
    path = Path(os.path.abspath(found.path.expanduser()))  # noqa: PTH100 (no link is followed: the name as given counts)
    return replace(found, path=path, name=(found.name or path.name)[:128])


def read_input(given: Input) -> Read:
    """Hash every file of an input; of a dataset also what can be seen of it. Raises as `read_dataset`."""
    with open_folder(given.path) as tree:
        files = listed(tree).files
        manifest = identify(files)
        facts = look(files) if given.is_dataset else None
        tree.settle()
    if not given.is_dataset and given.relation is not Relation.TOKENIZER and manifest.weights is None:
        raise UsageError(
            f"{given.path} holds no weight file, so it is no model",
            remedy="give datasets as inputs and models as models; docs/reference/manifest.md says what counts",
            check="recorder.input",
        )
    return Read(given, manifest, facts)


def signed(read: Read, trust: Trust | None, now: datetime) -> Read:
    """Return a dataset with who signed it; raises VerificationFailed (`recorder.dataset-unsigned`) when nobody did.

    Looked at are the claims that the registry keeps about these files and the bundles beside them. A bundle that lies
    inside the folder is no part of the dataset when, and only when, it is a verified claim about all the other files.
    """
    if trust is None:
        raise _unsigned(read, ["nothing says whose word counts: there is no registry and no authority file"])
    refused: list[str] = []
    for bundle in trust.claims_about(read.manifest.digest):
        if proven := _proven(trust, bundle, read.manifest.digest, now, refused):
            return replace(read, proven=proven)
    for manifest, bundles, beside in _ways(read):
        kept = bundles or trust.claims_about(manifest.digest)
        for bundle in kept:
            if proven := _proven(trust, bundle, manifest.digest, now, refused):
                return replace(read, manifest=manifest, proven=proven, beside=beside)
    raise _unsigned(read, refused)


def _ways(read: Read) -> Iterable[tuple[Manifest, list[Bundle], tuple[str, ...]]]:
    """Yield the files that could be the dataset, and the bundles beside them that could be about them."""
    try:
        found, _ = signatures_of(read.input.path, read.input.bundle)
    except WeighbridgeError:
        return
    outside = [row.bundle for row in found if not row.inside]
    if outside:
        yield read.manifest, outside, ()
    for path in dict.fromkeys(row.inside for row in found if row.inside):
        rows = [row for row in found if row.inside == path]
        entry = read.manifest.entry(path)
        rest = [entry for entry in read.manifest.files if entry.path != path]
        # The file that was hashed with the dataset is the file whose bundles are looked at.
        if entry is not None and rest and all(row.file == entry.sha256 for row in rows):
            yield Manifest.of(rest), [row.bundle for row in rows], (path,)


def _proven(trust: Trust, bundle: Bundle, digest: Digest, now: datetime, refused: list[str]) -> Proven | None:
    try:
        return trust.data_claim(bundle, digest, now)
    except VerificationFailed as error:
        said = f"{error.problem}: {error.cause}" if error.cause else error.problem
        if said not in refused:
            refused.append(said)
        return None


def _unsigned(read: Read, refused: Sequence[str]) -> VerificationFailed:
    return VerificationFailed(
        f"nobody who may sign data has signed {read.input.path}",
        cause="; ".join(refused[:3]) or f"no claim about {read.manifest.digest} is kept or lies beside it",
        remedy="have it signed: weighbridge attest DATASET --stage data --source … --licence … --key …; "
        'or record that it is not: unsigned="allowed"',
        check="recorder.dataset-unsigned",
    )


def check_revoked(reads: Sequence[Read], trust: Trust | None) -> None:
    """Refuse (Refused, `recorder.input-revoked`) inputs that the registry knows to be revoked."""
    if trust is None:
        return
    digests = {d for read in reads for d in (read.manifest.digest, read.manifest.weights) if d is not None}
    for revocation in trust.revoked(sorted(digests)):
        name = next(
            r.input.name for r in reads if revocation.target in (r.manifest.digest, r.manifest.weights)
        )
        raise Refused(
            f"{name} was revoked, and what is made of it would be quarantined",
            cause=revocation.reason,
            remedy="leave it out",
            check="recorder.input-revoked",
        )


def read_again(read: Read) -> None:
    """Hash an input once more; raises VerificationFailed (`recorder.input-changed`) when it is not what was read before."""
    with open_folder(read.input.path) as tree:
        files = [file for file in listed(tree).files if file.path not in read.beside]
        now = identify(files)
        tree.settle()
    if now.digest == read.manifest.digest:
        return
    then = {entry.path: entry for entry in read.manifest.files}
    seen = {entry.path: entry for entry in now.files}
    path = min(name for name in then.keys() | seen.keys() if then.get(name) != seen.get(name))
    word = "changed" if path in then and path in seen else "appeared" if path in seen else "vanished"
    raise VerificationFailed(
        f"{read.input.name} is not what this run began with: {path!r} {word} meanwhile",
        cause=f"at the start {read.manifest.digest.short}, now {now.digest.short}",
        remedy="nothing was claimed; find out who writes there, then run it again from data that stands still"
        + (f" ({_CACHED})" if word == "appeared" and _CACHE.search(path) else ""),
        check="recorder.input-changed",
    )
