"""A model as OCI artifacts (image specification 1.1, CNCF ModelPack): a manifest with a layer for each file, and what refers to it.

Everything here follows from the kept model and the claims about it, so the same model is the same manifest, byte for byte, on
every server and at every time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from weighbridge.core.canonical import JSON, canonical
from weighbridge.core.digest import Digest
from weighbridge.core.manifest import FileEntry, is_weight_file
from weighbridge.core.statement import Statement
from weighbridge.registry.models import Model
from weighbridge.trust.bundle import Bundle

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
EMPTY = "application/vnd.oci.empty.v1+json"
MODEL = "application/vnd.cncf.model.manifest.v1+json"
CONFIG = "application/vnd.cncf.model.config.v1+json"
LAYER = "application/vnd.cncf.model.{}.v1.raw"
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
BOM = "application/vnd.cyclonedx+json"
TITLE = "org.opencontainers.image.title"
FILEPATH = "org.cncf.model.filepath"
_DOCUMENTS = (".md", ".txt", ".rst", ".pdf")
_CODE = (".py", ".sh", ".ipynb")


@dataclass(frozen=True, slots=True)
class Blob:
    """Bytes with their media type; `digest` names them."""

    data: bytes
    media_type: str

    @property
    def digest(self) -> str:
        """`sha256:…`."""
        return str(Digest.of(self.data))

    def descriptor(self, **more: JSON) -> dict[str, JSON]:
        """Return the descriptor (section "OCI Content Descriptors")."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": len(self.data), **more}


NOTHING = Blob(b"{}", EMPTY)


@dataclass(frozen=True)
class Artifact:
    """A model under a repository's name: its manifest, its small blobs, and its referrers."""

    repository: str
    commit: str
    model: Model
    bundles: Sequence[Bundle] = ()

    @cached_property
    def config(self) -> Blob:
        """What the model is: ModelPack's configuration."""
        files: list[JSON] = [str(entry.sha256) for entry in self.model.manifest.files]
        value: dict[str, JSON] = {
            "descriptor": {
                "name": self.repository,
                "version": self.commit,
                "createdAt": self.model.created_at,
                "revision": str(self.model.digest),
            },
            "modelfs": {"type": "layers", "diffIds": files},
            "config": {},
        }
        return Blob(canonical(value), CONFIG)

    @cached_property
    def manifest(self) -> Blob:
        """The manifest, as canonical JSON."""
        layers: list[JSON] = [_layer(entry) for entry in self.model.manifest.files]
        annotations: dict[str, JSON] = {
            "org.opencontainers.image.created": self.model.created_at,
            "org.opencontainers.image.revision": self.commit,
            "dev.weighbridge.model": str(self.model.digest),
        }
        value: dict[str, JSON] = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": MODEL,
            "config": self.config.descriptor(),
            "layers": layers,
            "annotations": annotations,
        }
        return Blob(canonical(value), MANIFEST)

    @cached_property
    def referrers(self) -> tuple[tuple[Blob, Blob, dict[str, JSON]], ...]:
        """Each referrer: its manifest, its one layer, and how an index lists it."""
        made = [
            _referrer(self, Blob(bundle.to_json(), BUNDLE), "claim.sigstore.json", _said(bundle))
            for bundle in self.bundles
        ]
        if self.model.bom is not None:
            made.append(_referrer(self, Blob(self.model.bom.encode(), BOM), "bom.cdx.json", {}))
        return tuple(sorted(made, key=lambda row: row[0].digest))

    def index(self, wanted: str = "") -> Blob:
        """List the referrers, of one type where that is wanted (distribution specification, "Listing Referrers")."""
        rows: list[JSON] = [
            listed for _, _, listed in self.referrers if not wanted or listed["artifactType"] == wanted
        ]
        return Blob(canonical({"schemaVersion": 2, "mediaType": INDEX, "manifests": rows}), INDEX)

    @cached_property
    def manifests(self) -> Mapping[str, Blob]:
        """Every manifest by its digest."""
        return {one.digest: one for one in (self.manifest, *(row[0] for row in self.referrers))}

    @cached_property
    def small(self) -> Mapping[str, Blob]:
        """Every blob that is no file of the model, by its digest."""
        return {one.digest: one for one in (self.config, NOTHING, *(row[1] for row in self.referrers))}

    @cached_property
    def files(self) -> Mapping[str, FileEntry]:
        """Every file by its digest."""
        return {str(entry.sha256): entry for entry in self.model.manifest.files}


def _layer(entry: FileEntry) -> dict[str, JSON]:
    return {
        "mediaType": LAYER.format(_kind(entry.path)),
        "digest": str(entry.sha256),
        "size": entry.size,
        "annotations": {TITLE: entry.path, FILEPATH: entry.path},
    }


def _kind(path: str) -> str:
    lower = path.lower()
    if is_weight_file(path):
        return "weight"
    if lower.endswith(_DOCUMENTS) or lower.rpartition("/")[2].startswith(("license", "notice", "readme")):
        return "doc"
    return "code" if lower.endswith(_CODE) else "weight.config"


def _referrer(
    about: Artifact, layer: Blob, title: str, annotations: dict[str, JSON]
) -> tuple[Blob, Blob, dict[str, JSON]]:
    value: dict[str, JSON] = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": layer.media_type,
        "config": NOTHING.descriptor(),
        "layers": [layer.descriptor(annotations={TITLE: title})],
        "subject": about.manifest.descriptor(),
        **({"annotations": annotations} if annotations else {}),
    }
    manifest = Blob(canonical(value), MANIFEST)
    more: dict[str, JSON] = {"annotations": annotations} if annotations else {}
    return manifest, layer, manifest.descriptor(artifactType=layer.media_type, **more)


def _said(bundle: Bundle) -> dict[str, JSON]:
    return {"dev.sigstore.bundle.predicateType": Statement.decode(bundle.envelope.payload).predicate_type}
