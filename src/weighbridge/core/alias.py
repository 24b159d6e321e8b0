"""Aliases: the other names of a model, and the node that stands for one until its bytes are known."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from weighbridge.core.digest import Digest
from weighbridge.core.errors import BadReference

MAX_VALUE = 256
"""Characters of an alias."""


class Scheme(StrEnum):
    """By what a thing is known elsewhere.

    `file-sha256` is one file (a hub's LFS object, a raw layer of a registry), `oms-root` the subject of
    OpenSSF Model Signing (blind to paths), `dirhash1` Go's sumdb, `hf-commit` a commit of a hub
    repository, `oci-manifest` a manifest, `tensor-set` the tensors whatever the files, `purl` a package
    URL, and `name` only what somebody called it (`org/name`).
    """

    FILE_SHA256 = "file-sha256"
    OMS_ROOT = "oms-root"
    DIRHASH1 = "dirhash1"
    HF_COMMIT = "hf-commit"
    OCI_MANIFEST = "oci-manifest"
    TENSOR_SET = "tensor-set"
    PURL = "purl"
    NAME = "name"

    @property
    def exact(self) -> bool:
        """Whether equal values mean equal bytes; a name or a package URL without a commit is only said."""
        return self not in (Scheme.NAME, Scheme.PURL)


@dataclass(frozen=True, slots=True, order=True)
class Alias:
    """One other name: its scheme and its value; raises BadReference for what cannot be one."""

    scheme: Scheme
    value: str

    def __post_init__(self) -> None:
        if not 0 < len(self.value) <= MAX_VALUE or not self.value.isprintable():
            raise BadReference(
                f"{self.value[:64]!r} cannot be an alias",
                cause=f"it needs 1 to {MAX_VALUE} printable characters",
                remedy="give it as SCHEME:VALUE, for example name:org/model",
            )

    @classmethod
    def parse(cls, text: str) -> Alias:
        """Parse `scheme:value`; raises BadReference."""
        scheme, _, value = text.partition(":")
        if scheme not in set(Scheme):
            raise BadReference(
                f"{text[:64]!r} is no alias",
                cause=f"known schemes are {', '.join(Scheme)}",
                remedy="give it as SCHEME:VALUE, for example name:org/model",
            )
        return cls(Scheme(scheme), value)

    def __str__(self) -> str:
        return f"{self.scheme.value}:{self.value}"

    @property
    def node(self) -> Digest:
        """The identity that stands for it in a lineage: `alias:` and the SHA-256 of its text."""
        return Digest("alias", Digest.of(str(self).encode()).hex)
