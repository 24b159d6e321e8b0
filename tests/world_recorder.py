"""A house for tests of the recorder: a team with keys in files, a signed dataset, and what stands in for a training."""

from __future__ import annotations

import json

import weighbridge
from weighbridge.core.statement import Statement
from world_house import World, safetensors


def recording_world(folder, monkeypatch):
    """Make a world in which `weighbridge.record` finds its registry; `keys` are paths by name."""
    made = World(folder)
    for name in ("HOME", "USER", "WEIGHBRIDGE_CONFIG_HOME"):
        monkeypatch.setenv(name, made.environ.get(name, ""))
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WEIGHBRIDGE_HOME", str(made.registry.layout.root))
    work = folder / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    made.team()
    made.keys = {name: folder / f"{name}.pem" for name in made.people}
    for name, key in made.people.items():
        key.save(made.keys[name])
    return made


def signed_shards(world, name="pairs"):
    """Make a dataset in shards that the data team signed."""
    shards = {f"data/train-0000{i}-of-00002__jsonl": f'{{"{name}": {i}}}\n' for i in range(2)}
    folder = world.files(name, **shards)
    world.say_data(folder, world.people["data-team"])
    return folder


def starter(world):
    """Return a way to begin recordings with the world's clock and the training team's key."""

    def start(stage="train", **options):
        options.setdefault("key", world.keys["train-team"])
        options.setdefault("clock", world.hand)
        options.setdefault("entropy", world.hand)
        return weighbridge.record(stage, **options)

    return start


def train(folder, seed=1.0):
    """Stand in for a training: write a model."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.safetensors").write_bytes(safetensors({"weight": [seed, 2.0, 3.0, 4.0]}))
    (folder / "config.json").write_text('{"model_type": "bert"}')
    return folder


def said(recorded):
    """Return the predicate of a claim as its bundle carries it."""
    return Statement.decode(recorded.bundle.envelope.payload).predicate


def record_of(recorded):
    """Return what a training claim says of its run."""
    return said(recorded)["buildDefinition"]["internalParameters"]


def everything(run):
    """Return all that a run left as text, with what is encoded in it decoded."""
    texts = []
    for one in run.claims:
        texts += [one.bundle.to_json().decode(), one.bundle.envelope.payload.decode()]
        texts.append(json.dumps(json.loads(one.bundle.envelope.payload), ensure_ascii=False))
        texts += [path.read_text() for path in [one.path] if path is not None]
    return "\n".join(texts)
