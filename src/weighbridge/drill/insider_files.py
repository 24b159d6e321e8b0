"""The insider, at the files: everything in the registry's folder can be written, no key is held (but where it says so)."""

from __future__ import annotations

import shutil
import stat
from datetime import timedelta
from pathlib import Path

from weighbridge.claims.summary import build_vsa
from weighbridge.core.digest import Digest
from weighbridge.core.tier import Role, Tier
from weighbridge.drill import material
from weighbridge.drill.stage import Stage
from weighbridge.drill.steps import Ending, Seen, Step, blocked, refused, through
from weighbridge.registry import export
from weighbridge.registry.outbox import sign, submit

HAD = "write access to the registry's folder"
SERVING = "write access to the machine that serves"


def _write(path: Path, data: bytes) -> None:
    """Write a file that is kept read-only, as whoever owns the folder can."""
    path.chmod(path.stat().st_mode | stat.S_IWUSR)
    path.write_bytes(data)


def _weights(stage: Stage, name: str) -> Path:
    return stage.laid_out(stage.brought(name)) / "model.safetensors"


def _store(stage: Stage) -> Seen:
    """Change one bit of approved weights where they are kept."""
    folder = stage.brought("second")
    entry = stage.manifest(folder).entry("model.safetensors")
    assert entry is not None
    blob = stage.registry.blobs.local(entry.sha256)
    _write(blob, material.changed(blob.read_bytes()))
    return blocked(stage.admit(folder).decision)


def _served(stage: Stage) -> Seen:
    """Change one bit of admitted weights where they are loaded from."""
    path = _weights(stage, "second")
    _write(path, material.changed(path.read_bytes()))
    return refused(lambda: stage.load(path.parent), "changed bytes were loaded")


def _linked(stage: Stage) -> Seen:
    """Put a link to other weights in the place of admitted ones."""
    path, other = _weights(stage, "second"), stage.model("other", material.encoder(9.0)) / "model.safetensors"
    path.unlink()
    path.symlink_to(other)
    return refused(lambda: stage.load(path.parent), "a link was followed")


def _added(stage: Stage) -> Seen:
    """Put a Python file beside admitted weights, for a loader that runs it."""
    folder = _weights(stage, "second").parent
    (folder / "modeling_custom.py").write_text(material.CODE, encoding="utf-8")
    return refused(lambda: stage.load(folder), "a file that was never admitted was passed over")


def _other_admission(stage: Stage) -> Seen:
    """Show the admission of one model for another."""
    first, bad = stage.laid_out(stage.brought("second")), stage.laid_out(stage.brought("first"))
    for name in ("admission.sigstore.json", "authority.json"):
        shutil.copyfile(first.parent / "evidence" / name, bad.parent / "evidence" / name)
    return refused(lambda: stage.load(bad), "another model's admission was taken")


def _withdrawn(stage: Stage, **later: float) -> Stage:
    """Revoke an admitted model, and put its admission back from a copy."""
    from weighbridge.gate.revoke import revoke

    folder = stage.laid_out(stage.brought("second")).parent / "evidence"
    kept = (folder / "admission.sigstore.json").read_bytes()
    digest = stage.manifest(stage.brought("second")).digest
    revoke(stage.registry, digest, reason="its data was poisoned", signer=stage.secret("owner"))
    (folder / "withdrawn.json").unlink()
    (folder / "admission.sigstore.json").write_bytes(kept)
    stage.clock.pass_(**later)
    return stage


def _put_back(stage: Stage) -> Seen:
    stage = _withdrawn(stage, minutes=1)
    stage.load(stage.laid_out(stage.brought("second")))
    return through("the revoked model loads on that machine")


def _put_back_later(stage: Stage) -> Seen:
    stage = _withdrawn(stage, hours=25)
    path = stage.laid_out(stage.brought("second"))
    return refused(lambda: stage.load(path), "it still loads a day later")


def _put_back_asked(stage: Stage) -> Seen:
    return blocked(_withdrawn(stage, minutes=1).admit(stage.brought("second")).decision)


def _old_authority(stage: Stage) -> Seen:
    """Keep an admission by a gate whose key was ended, with the authority of before."""
    stage.name("somebody", Role.DATA)
    path = stage.laid_out(stage.brought("second"))
    return refused(lambda: stage.load(path), "an older authority was believed")


def _policy_files(stage: Stage) -> Seen:
    """Ask for less in the policy's own settings."""
    path = stage.root / "policy" / "policy.toml"
    text = path.read_text(encoding="utf-8")
    path.write_text(
        text.replace("evaluation_required = true", "evaluation_required = false"), encoding="utf-8"
    )
    return blocked(stage.promote(stage.brought("second")).decision)


def _gate_key(stage: Stage) -> Seen:
    """Sign an admission with the gate's own key, have it logged, and lay the model out."""
    files = material.encoder(6.5, pytorch_model__bin=material.checkpoint(material.pickle_call()))
    folder = stage.model("dangerous", files)
    model, registry, now = stage.take(folder), stage.registry, stage.clock.now()
    statement = build_vsa(
        registry.id,
        Tier.TRUSTED,
        model.manifest,
        project=registry.project,
        policy_digest=Digest.of(b"any"),
        decision_digest=Digest.of(b"none"),
        now=now,
        expires=now + timedelta(days=365),
    )
    with registry.writing():
        bundle = submit(registry, sign(statement, registry.gate_key))[-1]
    path = export.lay_out(registry, stage.kept(folder), bundle)
    stage.load(path)
    if stage.admit(folder).decision.allow:
        return through("the gate admits it as well")
    return through(
        "it loads; asked again, the gate refuses it, since it reads the bytes and the claims itself"
    )


STEPS = (
    Step(
        "insider.store", "changes one bit of approved weights in the store", HAD,
        Ending.STOPPED, "bytes.match", "every byte is hashed again for every decision", _store,
    ),
    Step(
        "insider.served", "changes one bit of the weights that are about to be loaded", SERVING,
        Ending.STOPPED, "file.bytes", "the loader hashes the memory that it hands out", _served,
    ),
    Step(
        "insider.link", "puts a link to other weights in their place", SERVING,
        Ending.STOPPED, "file.bytes", "the loader follows no link", _linked,
    ),
    Step(
        "insider.added", "puts a Python file beside admitted weights", SERVING,
        Ending.STOPPED, "files.extra", "an admitted folder holds exactly what was admitted", _added,
    ),
    Step(
        "insider.admission", "shows the admission of one model for another", SERVING,
        Ending.STOPPED, "manifest.admitted", "an admission is about one manifest", _other_admission,
    ),
    Step(
        "insider.authority-file", "keeps serving under an authority that was replaced", SERVING,
        Ending.STOPPED, "authority.rollback", "the loader's pin has seen a newer authority", _old_authority,
    ),
    Step(
        "insider.put-back", "puts back an admission that was withdrawn, on a machine that asks nobody", "a copy of the admission, and the machine that serves",
        Ending.OPEN, "", "it loads there until the admission ends (admission_hours, a day): a loader without a network cannot know better. Whoever asks the gate is refused (next steps)", _put_back,
    ),
    Step(
        "insider.put-back-later", "does so and waits a day", "a copy of the admission, and the machine that serves",
        Ending.STOPPED, "admission.expired", "admissions are short-lived", _put_back_later,
    ),
    Step(
        "insider.put-back-asked", "does so, and the deployment asks the gate", "a copy of the admission",
        Ending.STOPPED, "model.unrevoked", "the gate asks for every revocation, each time", _put_back_asked,
    ),
    Step(
        "insider.policy-files", "asks for less in the policy's settings", HAD,
        Ending.STOPPED, "policy.engine", "the registry pins the digest of the policy; until it fits, nobody is allowed", _policy_files,
    ),
    Step(
        "insider.gate-key", "signs an admission with the gate's own key, has it logged, and lays a dangerous model out", "the gate's key: the registry's folder and its passphrase",
        Ending.OPEN, "", "whoever holds the gate's key and the log's is the gate, for loaders. What is kept shows an admission with no decision beside it, and the gate itself refuses. Keep these keys in a token or a key service (docs/reference/keys.md)", _gate_key,
    ),
)  # fmt: skip
"""What an insider tries with files, in this order."""
