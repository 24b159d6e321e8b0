"""Having a registry list what refers to a manifest: by itself, or in the index under the fallback tag.

A registry that knows `subject` lists referrers as they are put. For one that does not, whoever pushes keeps the list: an
index under the tag `sha256-<hex>` of the subject (distribution specification 1.1, "Referrers Tag Schema").

Two pushers at once: the index is read, added to and put again, and a tag has no lock. The put bears the entity tag of what was
read (`If-Match`, `If-None-Match`), and a registry that heeds it loses nothing. With one that does not, the later of two puts wins:
it may leave out what the earlier one had just added. Each reads back what is there and adds again what is missing, so
a loss stays only where the later put came after the earlier one's reading back. What is lost then is a row of the index; the
referrer itself is there by its digest, and the next push of the same model lists it again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from weighbridge.core.canonical import JSON
from weighbridge.core.errors import Refused, Unreachable
from weighbridge.store.oci import INDEX, OciPlace, parsed

TRIES = 5
API = "referrers"
TAG = "fallback tag"


def fallback_tag(subject: str) -> str:
    """Return the tag under which the index of a manifest's referrers is kept, from its digest."""
    return subject.replace(":", "-")


def announce(place: OciPlace, subject: str, rows: Sequence[Mapping[str, JSON]]) -> str:
    """Have these descriptors, of manifests that are there, listed as referrers of `subject`; returns how: API or TAG.

    Raises Refused(`push.fallback`) where something else lies under the fallback tag, and Unreachable where the list does
    not keep what is put into it.
    """
    wanted = {str(row["digest"]) for row in rows}
    listed = place.referrers(subject)
    if listed is not None and wanted <= listed:
        return API
    before: set[str] = set()
    for _ in range(TRIES):
        entity, index = _read(place, subject)
        kept: list[Any] = index["manifests"]
        there = {str(row.get("digest")) for row in kept}
        if wanted | before <= there:
            return TAG
        before |= there
        index["manifests"] = [*kept, *(dict(row) for row in rows if row["digest"] not in there)]
        body = json.dumps(index, sort_keys=True, separators=(",", ":")).encode()
        place.put_manifest(fallback_tag(subject), body, kind=INDEX, conditions=entity)
    raise Unreachable(
        f"{place.where} does not keep the list of what refers to the model",
        cause=f"after {TRIES} tries the index {fallback_tag(subject)} holds something else than was put: others push as well",
        remedy="run the command again when they are done",
        check="push.referrers",
    )


def _read(place: OciPlace, subject: str) -> tuple[dict[str, str], dict[str, Any]]:
    """Return the index that is there, or an empty one, and the condition under which it may be put again."""
    answer = place.manifest(fallback_tag(subject))
    if answer is None:
        return {"If-None-Match": "*"}, {"schemaVersion": 2, "mediaType": INDEX, "manifests": []}
    value = parsed(answer, place.where)
    rows = value.get("manifests")
    kind = value.get("mediaType") or answer.headers.get("content-type", "").partition(";")[0]
    if kind != INDEX or not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise Refused(
            f"{fallback_tag(subject)} in {place.where} is no list of referrers",
            cause=f"it is of type {str(kind)[:80]!r}; this tag belongs to the list of what refers to the model",
            remedy="remove that tag, or push to another repository",
            check="push.fallback",
        )
    entity = answer.headers.get("etag", "")
    return ({"If-Match": entity} if entity else {}), value
