"""Which store of blobs an address means: a table of schemes, each loaded when it is first used."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from urllib.parse import unquote, urlsplit

from weighbridge.core.errors import BadSetting
from weighbridge.store.files import FileBlobs
from weighbridge.store.ports import Blobs

SCHEMES: Mapping[str, str] = {
    # scheme: module:function(url, *, cache) -> Blobs
    "s3": "weighbridge.store.objects:open_objects",
    "s3a": "weighbridge.store.objects:open_objects",
    "gs": "weighbridge.store.objects:open_objects",
    "az": "weighbridge.store.objects:open_objects",
    "azure": "weighbridge.store.objects:open_objects",
    "abfs": "weighbridge.store.objects:open_objects",
    "abfss": "weighbridge.store.objects:open_objects",
    "oci": "weighbridge.store.oci:open_oci",
    "oci+http": "weighbridge.store.oci:open_oci",
}


def open_blobs(url: str | Path, *, cache: Path) -> Blobs:
    """Open the store of blobs at a folder, `file://` or another address of the table; raises BadSetting.

    `cache` is a folder on this machine for verified copies of what a remote store holds; a folder needs none.
    """
    if isinstance(url, Path):
        return FileBlobs(url)
    scheme = urlsplit(url).scheme.lower()
    if not scheme:
        return FileBlobs(Path(url).expanduser().absolute())
    if scheme == "file":
        return FileBlobs(Path(unquote(urlsplit(url).path)))
    if scheme not in SCHEMES:
        raise BadSetting(
            f"there is no store of blobs for {scheme}://",
            cause=f"known are a folder, file:// and {', '.join(f'{known}://' for known in SCHEMES)}",
            remedy="check the setting `blobs` (WEIGHBRIDGE_BLOBS)",
        )
    module, name = SCHEMES[scheme].split(":")
    opened: Blobs = getattr(import_module(module), name)(url, cache=cache)
    return opened
