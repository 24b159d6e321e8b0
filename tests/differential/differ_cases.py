"""Cases by number: each is made of its base and its number alone, so a disagreement can be made again."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta

import differ_der
import differ_json
import differ_signed
from differ_bases import Case, base, names, specifications, wider

MOMENTS = (-1 << 30, -86400, -301, -300, -299, -1, 0, 1, 300, 86400, 1 << 29)
"""Seconds between signing and verifying."""


def made(name: str, number: int) -> Case:
    """Make the case of a base with this number."""
    rng = random.Random(f"{name} {number}")
    right = base(name)
    kind = rng.choice(("bundle", "bundle", "root", "signed", "signed", "signed", "now", "content"))
    forged = (specifications() | wider()).get(name)
    if kind == "signed" and forged is not None:
        return replace(differ_signed.mutated(rng, forged), base=name)
    if kind == "root":
        donors = [base(other).root for other in rng.sample(names(), 2)]
        root, field, done = differ_json.mutated(rng, right.root, donors)
        return replace(right, root=root, field=f"root: {field}", done=done)
    if kind == "now" and rng.random() < 0.3:
        seconds = rng.choice(MOMENTS)
        return replace(
            right, now=right.now + timedelta(seconds=seconds), field="time of verification", done="now"
        )
    if kind == "content" and rng.random() < 0.3:
        return replace(right, content=differ_der.bits(rng, right.content), field="content", done="bits")
    donors = [base(other).bundle for other in rng.sample(names(), 3)]
    bundle, field, done = differ_json.mutated(rng, right.bundle, donors)
    if rng.random() < 0.15:
        bundle, second, _ = differ_json.mutated(rng, bundle, donors) if bundle[:1] == b"{" and done != "raw" else (bundle, field, done)  # fmt: skip
        field = min(field, second)
    return replace(right, bundle=bundle, field=f"bundle: {field}", done=done)
