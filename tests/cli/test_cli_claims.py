"""`claims` as a person types it: the answer, each link, the build level, JSON of the documented shape, a picture."""

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import jsonschema

from weighbridge.claims import predicates as p
from weighbridge.claims.words import PROVENANCE
from weighbridge.core.lineage import Relation
from weighbridge.core.statement import Statement, subjects_of
from weighbridge.keys.files import generate

SCHEMA = Path(__file__).resolve().parents[2] / "docs" / "reference" / "schemas" / "claim.schema.json"


def item(text):
    document = json.loads(text)
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8"))).validate(document)
    (one,) = document["claims"]
    return one


def test_the_claims_of_a_model_of_our_own(world, call):
    base = world.ready("base")
    tuned = world.ready("tuned", seed=4.0, base=[base])
    digest = world.manifest(tuned).digest
    code, output, error = call("claims", digest)
    assert (code, output.splitlines()[0]) == (0, "proven to data"), error
    assert "SLSA build level shown: 1" in output
    assert "for level 2:" in output
    assert "https://slsa.dev/spec/v1.2/build-requirements#provenance-authentic" in output
    code, output, _ = call("claims", digest, "--explain", "--picture", "links.svg")
    assert code == 0
    assert output.splitlines()[0] == f"model tuned {digest.short}  proven"
    assert "fine-tune: model" in output
    assert "train claim signed by train-team" in output
    assert "evaluated: evaluate claim signed by evaluate-team" in output
    drawn = ET.parse(world.folder / "links.svg").getroot()
    assert drawn.tag.endswith("svg")
    assert "proven to data" in "".join(drawn.itertext())
    found = item(call("claims", digest, "--format", "json")[1])
    assert (found["answer"], found["model"], found["build_level"]["level"]) == (
        "proven to data",
        str(digest),
        1,
    )


def test_a_broken_link_is_named_and_is_exit_code_one(world, call):
    world.team()
    folder, dataset = world.model("encoder"), world.dataset()
    world.say_train(folder, generate(), data=[dataset])
    world.take(folder)
    digest = world.manifest(folder).digest
    code, output, _ = call("claims", digest, "--explain")
    assert code == 1
    assert "not believed: signed by a stranger" in output
    assert f"broken at {digest.short} [identity.known]" in output
    assert "SLSA build level shown: 0" in output
    found = item(call("claims", digest, "--format", "json")[1])
    assert (found["ancestry"]["check"], found["ancestry"]["end"]) == ("identity.known", "broken")


def chains(world, folder):
    """Return provenance as Tekton Chains writes it: another build type, our identity as its subject."""
    manifest = world.manifest(folder)
    predicate = {
        "buildDefinition": {
            "buildType": "https://tekton.dev/chains/v2/slsa",
            "externalParameters": {"runSpec": {}},
            "resolvedDependencies": [],
        },
        "runDetails": {"builder": {"id": "https://tekton.dev/chains/v2"}, "metadata": {"invocationId": "7"}},
    }
    return Statement(subjects_of(manifest), PROVENANCE, predicate)


def test_a_strangers_provenance_shows_a_level_where_its_signer_is_trusted(world, call):
    """Trust stands in the pinned policy: the same file unpinned counts for nothing."""
    folder = world.ready()
    digest = world.manifest(folder).digest
    key = world.person("chains", "train")
    world.say(chains(world, folder), key)
    code, output, _ = call("claims", digest, "--explain")
    assert code == 0
    assert "https://tekton.dev/chains/v2/slsa by https://tekton.dev/chains/v2: level 1" in output
    assert "no setting trusts chains for the builder https://tekton.dev/chains/v2" in output
    settings = world.registry.layout.policy / "policy.toml"
    text = settings.read_text(encoding="utf-8")
    row = '{signer = "chains", builder = "https://tekton.dev/chains/v2", level = 2, hosted = true}'
    assert "\ntrusted = []" in text
    settings.write_text(text.replace("\ntrusted = []", f"\ntrusted = [{row}]"), encoding="utf-8")
    assert "SLSA build level shown: 1" in call("claims", digest)[1]
    code, output, error = call("policy", "use", world.registry.layout.policy)
    assert code == 0, error
    assert "SLSA build level shown: 2" in call("claims", digest)[1]


def test_provenance_by_somebody_who_may_not_train_shows_nothing(world, call):
    folder = world.ready()
    world.say(chains(world, folder), world.people["data-team"])
    output = call("claims", world.manifest(folder).digest, "--explain")[1]
    assert "https://tekton.dev/chains/v2/slsa by https://tekton.dev/chains/v2: level 0" in output
    assert "data-team may not sign as train" in output


def test_an_evaluation_of_the_converted_source_counts_for_the_gate(world, call):
    """Evaluated before it was converted: with proof the model is promoted, without it lacks an evaluation."""
    world.team()
    world.person("convert-team", "convert")
    for proof in ("proven", "unproven"):
        source = world.files(
            f"source-{proof}",
            model__safetensors=world.model(f"x-{proof}", 3.0 if proof == "proven" else 4.0)
            .joinpath("model.safetensors")
            .read_bytes(),
            note__txt=proof,
        )
        dataset = world.dataset(f"d-{proof}", f"{proof}\n")
        world.say_data(dataset, world.people["data-team"])
        world.say_train(source, world.people["train-team"], data=[dataset])
        world.say_evaluate(source, world.people["evaluate-team"])
        world.say_package(source, world.people["package-team"])
        output = world.model(f"out-{proof}", 7.0 if proof == "proven" else 8.0)
        root = "aa" if proof == "proven" else "bb"
        world.say(
            p.convert(
                world.manifest(output), world.manifest(source).digest, equivalence=proof, source_root="aa",
                output_root=root, tool="t", invocation="i",
            ),
            world.people["convert-team"],
        )  # fmt: skip
        world.say_package(output, world.people["package-team"])
        world.take(output)
        code, text, _ = call("claims", world.manifest(output).digest, "--explain")
        assert ("evaluated: evaluate claim signed by evaluate-team" in text) == (proof == "proven")
        assert code == (0 if proof == "proven" else 1)
        assert Relation.CONVERSION.value in text
