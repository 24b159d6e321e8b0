"""Build levels: nothing that a claim says of itself raises one, and each missing piece lowers it by its own requirement."""

import json
from dataclasses import replace

import pytest
from claims_world import about, facts, whole
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.claims import slsa
from weighbridge.claims.slsa import (
    Build,
    TrustedBuilder,
    build_level,
    build_of,
    model_level,
    read_trusted,
)
from weighbridge.core.decision import Outcome
from weighbridge.core.digest import Digest
from weighbridge.core.errors import BadSetting
from weighbridge.core.evidence import Proven
from weighbridge.core.identity import Identity
from weighbridge.trust.pattern import Pattern

BUILDER = "https://github.com/our-team/builders/.github/workflows/train.yml@refs/tags/v1"
CALLER = "https://github.com/our-team/models/.github/workflows/model.yml@refs/heads/main"
SEEN = {
    "build-signer-uri": BUILDER,
    "build-config-uri": CALLER,
    "runner-environment": "github-hosted",
    "source-repository-uri": "https://github.com/our-team/models",
}
MODEL, WEIGHTS = Digest("wb1", "1" * 64), Digest("wbw1", "2" * 64)
BUNDLE = Digest.of(b"bundle")
TRUSTED = (TrustedBuilder("train-workflow", BUILDER, 3),)
KEYED = (TrustedBuilder("chains", "https://tekton.dev/chains/v2", 3, hosted=True),)


def proof(name="train-workflow", *, subject=BUILDER, **seen):
    certificate = {
        key: value
        for key, value in (SEEN | {k.replace("_", "-"): v for k, v in seen.items()}).items()
        if value
    }
    who = Identity(Digest.of(name.encode()), name, "https://token.actions.githubusercontent.com", subject)
    return Proven(who, BUNDLE, "type", 1, None, None, certificate)


def keyed(name="chains"):
    return Proven(Identity(Digest.of(name.encode()), name), BUNDLE, "type", 1, None, None)


def build(builder=BUILDER, signed=None, *, makes=True, about_=(MODEL, WEIGHTS), **changes):
    made = Build(about_, makes=makes, kind="train", builder=builder, bundle=BUNDLE, proof=signed or proof())
    return replace(made, **changes)


def shown(found):
    return {row.id for row in found.requirements if row.shown}


def test_a_reusable_workflow_on_hosted_runners_reaches_three():
    found = build_level(build(), TRUSTED)
    assert found.level == 3
    assert shown(found) == set(slsa._TITLES)


def test_a_recorder_inside_of_the_build_reaches_one_whatever_the_settings_say():
    recorder = "https://weighbridge.dev/builders/recorder/v1"
    for signed in (proof(), proof(build_signer_uri=recorder), keyed("train-workflow")):
        for level in (1, 2, 3):
            trusted = (TrustedBuilder("train-workflow", recorder, level, hosted=True),)
            found = build_level(build(recorder, signed), trusted)
            assert found.level == 1
            assert "recorded inside the build" in found.requirements[1].found


@pytest.mark.parametrize(
    ("seen", "level", "lacks"),
    [
        ({"build_config_uri": BUILDER, "source_repository_uri": "https://github.com/our-team/builders"}, 1,
         {"provenance-authentic", "provenance-unforgeable"}),
        ({"build_config_uri": BUILDER.upper(), "source_repository_uri": "https://github.com/Our-Team/Builders"}, 1,
         {"provenance-authentic", "provenance-unforgeable"}),
        ({"build_config_uri": BUILDER.replace("v1", "v2"), "source_repository_uri": "https://github.com/our-team/builders"},
         1, {"provenance-authentic", "provenance-unforgeable"}),
        ({"build_config_uri": BUILDER, "source_repository_uri": ""}, 1, {"provenance-authentic", "provenance-unforgeable"}),
        ({"source_repository_uri": "https://github.com/our-team/builders"}, 2, {"provenance-unforgeable"}),
        ({"source_repository_uri": ""}, 2, {"provenance-unforgeable"}),
        ({"build_signer_uri": ""}, 1, {"provenance-authentic", "provenance-unforgeable"}),
        ({"build_config_uri": ""}, 1, {"provenance-authentic", "provenance-unforgeable"}),
        ({"build_signer_uri": CALLER}, 1, {"provenance-authentic", "provenance-unforgeable"}),
        ({"runner_environment": "self-hosted"}, 1, {"hosted", "isolated"}),
        ({"runner_environment": ""}, 1, {"hosted"}),
    ],
)  # fmt: skip
def test_what_a_certificate_does_not_show(seen, level, lacks):
    found = build_level(build(signed=proof(**seen)), TRUSTED)
    assert found.level == level
    assert set(slsa._TITLES) - shown(found) == lacks


def test_a_prefix_of_a_repository_is_another_repository():
    """`models-builders` is not in `models`."""
    signer = "https://github.com/our-team/models-builders/.github/workflows/train.yml@refs/tags/v1"
    found = build_level(
        build(signer, proof(build_signer_uri=signer)), (TrustedBuilder("train-workflow", signer, 3),)
    )
    assert found.level == 3


def test_configuration_kept_in_another_project():
    """GitLab names one configuration twice; it must lie elsewhere than the code."""
    config = "https://gitlab.com/our-team/builders//train.yml@refs/heads/main"
    trusted = (TrustedBuilder("train-workflow", config, 2),)
    seen = {"build_signer_uri": config, "build_config_uri": config, "runner_environment": "gitlab-hosted"}
    apart = proof(**seen, source_repository_uri="https://gitlab.com/our-team/models")
    assert build_level(build(config, apart), trusted).level == 2
    inside = proof(**seen, source_repository_uri="https://gitlab.com/our-team/builders")
    assert build_level(build(config, inside), trusted).level == 1


@pytest.mark.parametrize(
    ("trusted", "level"),
    [
        ((), 1),
        ((TrustedBuilder("somebody", BUILDER, 3),), 1),
        ((TrustedBuilder("train-workflow", BUILDER + "x", 3),), 1),
        ((TrustedBuilder("train-workflow", BUILDER, 1),), 1),
        ((TrustedBuilder("train-workflow", BUILDER, 2),), 2),
        ((TrustedBuilder("train-workflow", BUILDER, 2), *TRUSTED), 3),
        ((TrustedBuilder("train-workflow", Pattern(r"https://github\.com/our-team/builders/.*"), 3),), 3),
        ((TrustedBuilder("train-workflow", Pattern(r"https://github\.com/our-team"), 3),), 1),
    ],
)
def test_only_the_settings_trust_a_builder(trusted, level):
    assert build_level(build(), trusted).level == level


def test_a_key_rests_on_the_word_of_the_settings():
    made = build("https://tekton.dev/chains/v2", keyed())
    found = build_level(made, KEYED)
    assert found.level == 3
    assert "the settings' word" in found.requirements[1].found
    assert build_level(made, (replace(KEYED[0], hosted=False),)).level == 1
    assert build_level(made, (replace(KEYED[0], level=2),)).level == 2
    assert build_level(made, ()).level == 1


def test_a_certificate_without_claims_is_no_key():
    """A person's certificate says nothing of a workflow; it must not pass for a key out of the build's reach."""
    person = replace(proof(), certificate={})
    assert build_level(build(signed=person), (replace(TRUSTED[0], hosted=True),)).level == 1


def test_what_nobody_signed_shows_nothing():
    found = build_level(build(proof=None, reason="signed by a stranger"), TRUSTED)
    assert (found.level, shown(found)) == (0, set())
    assert found.requirements[0].found == "signed by a stranger"
    assert build_level(build(builder=""), TRUSTED).level == 0


RECORDER = "https://weighbridge.dev/builders/recorder/v1"
INSIDE = "it was recorded inside the build, by whoever ran it"
EXACT = {
    "all": (build(), TRUSTED, [
        f"train, by {BUILDER}",
        f"signed by {proof().signer}, trusted for {BUILDER}",
        "the certificate says that the runner was github-hosted",
        f"{BUILDER} is out of the build's reach",
        "the builder is trusted for it; the runner was github-hosted",
    ], "11111"),
    "level 2": (build(), (replace(TRUSTED[0], level=2),), [
        None, None, None, "the settings trust this builder for level 2",
        "no setting trusts the builder to keep builds apart",
    ], "11100"),
    "recorder": (build(RECORDER, proof(build_signer_uri=RECORDER)), (TrustedBuilder("train-workflow", RECORDER, 3),),
                 [None, INSIDE, None, INSIDE, None], "10101"),
    "a key": (build("https://tekton.dev/chains/v2", keyed()), KEYED, [
        "train, by https://tekton.dev/chains/v2",
        (f"signed by {keyed().signer}, trusted for https://tekton.dev/chains/v2; "
        "that its key is out of the build's reach is the settings' word"),
        "by the word of the settings",
        "the key is out of the build's reach; that its key is out of the build's reach is the settings' word",
        "the builder is trusted for it; no certificate says more",
    ], "11111"),
    "own repository": (build(signed=proof(source_repository_uri="https://github.com/our-team/builders")), TRUSTED, [
        None, None, None,
        "the workflow that signs lies in the repository that it builds, https://github.com/our-team/builders", None,
    ], "11101"),
    "no repository": (build(signed=proof(source_repository_uri="")), TRUSTED, [
        None, None, None, "the workflow that signs lies in the repository that it builds, which is not named", None,
    ], "11101"),
    "no trust": (build(), (), [
        None, f"no setting trusts train-workflow for the builder {BUILDER}", None,
        f"no setting trusts train-workflow for the builder {BUILDER}", "no setting trusts the builder to keep builds apart",
    ], "10100"),
    "own runner": (build(signed=proof(runner_environment="self-hosted")), TRUSTED, [
        None, None, "the certificate says 'self-hosted'", None, "the runner was self-hosted, which may serve build after build",
    ], "11010"),
    "no runner": (build(signed=proof(runner_environment="")), TRUSTED, [
        None, None, "nothing says on what it ran", None, "the builder is trusted for it; no certificate says more",
    ], "11011"),
    "no signer": (build(signed=proof(build_signer_uri="")), TRUSTED, [
        None, "its certificate does not say which workflow signed and which was started", None,
        "its certificate does not say which workflow signed and which was started", None,
    ], "10101"),
    "a nameless certificate": (build(signed=proof(subject="", build_signer_uri=CALLER)), TRUSTED, [
        None, f"the certificate is that of {CALLER}, not of the builder that the claim names", None,
        f"the certificate is that of {CALLER}, not of the builder that the claim names", None,
    ], "10101"),
    "nobody": (build("", keyed()), TRUSTED, ["it names no builder"] * 5, "00000"),
}  # fmt: skip


@pytest.mark.parametrize("name", EXACT)
def test_each_requirement_says_what_it_rests_on(name):
    made, trusted, words, which = EXACT[name]
    found = build_level(made, trusted)
    assert "".join(str(int(row.shown)) for row in found.requirements) == which
    assert [row.id for row in found.requirements] == list(slsa._TITLES)
    for row, text in zip(found.requirements, words, strict=True):
        assert text is None or row.found == text
    told = found.to_json()
    assert told["signer"] == str(made.proof.signer)
    assert replace(found, build=replace(made, proof=None)).to_json()["signer"] == ""


# A model.


def packed(**changes):
    return build(makes=False, about_=(MODEL, WEIGHTS), **changes)


def test_a_model_is_no_better_shown_than_its_worst_part():
    made = build(about_=(WEIGHTS,))
    assert model_level(MODEL, WEIGHTS, [made, packed()], TRUSTED).level == 3
    low = packed(builder="https://weighbridge.dev/builders/by-hand")
    assert model_level(MODEL, WEIGHTS, [made, low], TRUSTED).level == 1
    assert model_level(MODEL, WEIGHTS, [made, low, packed()], TRUSTED).level == 3
    assert model_level(MODEL, WEIGHTS, [made], TRUSTED).level == 0
    assert model_level(MODEL, WEIGHTS, [packed()], TRUSTED).level == 0
    assert model_level(MODEL, WEIGHTS, [], TRUSTED).level == 0
    assert model_level(MODEL, None, [packed()], TRUSTED).level == 3


def test_what_is_missing_is_said_with_its_section():
    found = model_level(MODEL, WEIGHTS, [build(about_=(WEIGHTS,))], TRUSTED)
    assert found.missing == (
        "no provenance says how the files as a whole came to be (https://slsa.dev/spec/v1.2/build-requirements#provenance-exists)",
    )
    low = build(signed=proof(runner_environment="self-hosted"))
    (line,) = model_level(MODEL, WEIGHTS, [low], TRUSTED).missing[:1]
    assert line.startswith("the weights: hosted: the certificate says 'self-hosted'")
    assert line.endswith("build-requirements#hosted)")
    assert model_level(MODEL, WEIGHTS, [build()], TRUSTED).missing == ()
    lines = model_level(
        MODEL, WEIGHTS, [build(signed=proof(runner_environment="self-hosted"))], TRUSTED
    ).missing
    assert {line.partition(": ")[2].partition(":")[0] for line in lines} == {"hosted"}, (
        "no requirement of level 3"
    )


def test_only_builds_of_this_model_count():
    others = build(about_=(Digest("wb1", "8" * 64), Digest("wbw1", "9" * 64)))
    found = model_level(MODEL, WEIGHTS, [others, replace(others, makes=False)], TRUSTED)
    assert (found.made, found.packed, found.level, len(found.builds)) == (None, None, 0, 2)
    whole_only = build(about_=(MODEL,), signed=proof())
    low = packed(builder="https://weighbridge.dev/builders/by-hand")
    bare = model_level(MODEL, None, [whole_only, low], TRUSTED)
    assert (bare.made.level, bare.packed.level) == (3, 3)
    assert bare.made.build.makes
    assert model_level(MODEL, None, [low], TRUSTED).made.level == 1


def test_it_is_never_called_compliant():
    for trusted in ((), TRUSTED):
        told = json.dumps(model_level(MODEL, WEIGHTS, [build(), packed()], trusted).to_json()).lower()
        assert "complian" not in told
        assert "certifi" not in told.replace("certificate", "")


def test_the_builds_of_a_real_graph():
    every = [build for fact in facts(whole()) if (build := build_of(fact))]
    assert sorted({build.kind for build in every}) == ["fine-tune", "merge", "package", "rebuilt"]
    assert all(build.proof is not None and not build.reason for build in every)
    assert {build.kind: build.makes for build in every} == {
        "fine-tune": True, "merge": True, "rebuilt": True, "package": False,
    }  # fmt: skip
    silent = build_of(replace(facts(whole())[4], proof=None))
    assert silent.reason == "it carries no proof of who signed it"
    found = model_level(Digest("wb1", "0" * 64), about("merged"), every, ())
    assert found.made is not None
    assert (found.made.level, found.packed, found.level) == (1, None, 0)
    refused = [replace(fact, outcome=Outcome.FAIL, reason="no") for fact in facts(whole())]
    told = [build_of(fact) for fact in refused]
    assert {build.reason for build in told if build} == {"no"}


# Settings.


def test_trusted_builders_are_read():
    rows = [
        {"signer": "ci", "builder": BUILDER, "level": 3},
        {"signer": "ci", "builder": {"pattern": "https://x/.*"}, "level": 2, "hosted": True},
    ]
    first, second = read_trusted(rows)
    assert (first.signer, first.builder, first.level, first.hosted) == ("ci", BUILDER, 3, False)
    assert (second.builder.source, second.hosted) == ("https://x/.*", True)
    assert read_trusted([]) == ()


@pytest.mark.parametrize(
    "row",
    [
        {},
        {"signer": "ci", "builder": BUILDER},
        {"signer": "ci", "builder": BUILDER, "level": 0},
        {"signer": "ci", "builder": BUILDER, "level": 4},
        {"signer": "ci", "builder": BUILDER, "level": True},
        {"signer": "ci", "builder": BUILDER, "level": "3"},
        {"signer": "", "builder": BUILDER, "level": 3},
        {"signer": 3, "builder": BUILDER, "level": 3},
        {"signer": "ci", "builder": "", "level": 3},
        {"signer": "ci", "builder": 3, "level": 3},
        {"signer": "ci", "builder": {"pattern": "("}, "level": 3},
        {"signer": "ci", "builder": {"pattern": "x", "more": 1}, "level": 3},
        {"signer": "ci", "builder": BUILDER, "level": 3, "hosted": 1},
        {"signer": "ci", "builder": BUILDER, "level": 3, "more": 1},
        "text",
        None,
    ],
)
def test_other_rows_are_refused(row):
    with pytest.raises(BadSetting) as caught:
        read_trusted([row])
    assert caught.value.cause
    assert len(caught.value.cause) < 200


URIS = st.sampled_from(
    ["", BUILDER, CALLER, "https://github.com/our-team/models", "https://github.com/our-team/builders"]
)


@given(signer=URIS, started=URIS, source=URIS, runner=st.sampled_from(["", "github-hosted", "self-hosted"]), builder=URIS,
       level=st.sampled_from([1, 2, 3]), hosted=st.booleans())  # fmt: skip
def test_no_certificate_of_a_workflow_that_signs_for_itself_goes_beyond_one(
    signer, started, source, runner, builder, level, hosted
):
    seen = proof(
        build_signer_uri=signer,
        build_config_uri=started,
        source_repository_uri=source,
        runner_environment=runner,
    )
    trusted = (TrustedBuilder("train-workflow", builder or "x", level, hosted=hosted),)
    found = build_level(build(builder or "x", seen), trusted)
    assert found.level <= level
    if found.level > 1:
        assert signer == builder
        assert signer != started or not signer.startswith(source)
        assert hosted or runner == "github-hosted"
    if found.level > 2:
        assert not signer.startswith(source + "/")
        assert runner != "self-hosted"
