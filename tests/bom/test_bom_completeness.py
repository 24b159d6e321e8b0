"""Completeness: each element of each profile says what it found and where, and a placeholder is nothing."""

import json

import jsonschema
import pytest
from bom_models import CLAIMS, FILES, SOURCE, made

from weighbridge.bom.completeness import Status, assess, profiles, read_profile, select
from weighbridge.bom.lint import value_at
from weighbridge.core.envelope import envelope
from weighbridge.core.errors import NotFound

FULL = {spec: made(spec=spec, source=SOURCE, claims=CLAIMS) for spec in ("1.6", "1.7")}
BARE = made({"w.bin": b"x"})


def found(bom, profile, **more):
    return {row.id: row for row in assess(bom, read_profile(profile), **more).elements}


def test_the_profiles_are_what_their_sources_list():
    assert profiles() == ("g7-2026", "ntia-2021", "weighbridge-1")
    elements = read_profile("g7-2026")["elements"]
    clusters = [row["cluster"] for row in elements]
    assert len(elements) == 50
    assert {name: clusters.count(name) for name in dict.fromkeys(clusters)} == {
        "metadata": 10, "system": 9, "models": 13, "datasets": 10, "infrastructure": 2, "security": 4, "indicators": 2,
    }  # fmt: skip
    assert len(read_profile("ntia-2021")["elements"]) == 7
    with pytest.raises(NotFound):
        read_profile("../harvest")


@pytest.mark.parametrize("profile", profiles())
@pytest.mark.parametrize("spec", FULL)
def test_what_is_there_has_a_pointer_that_leads_to_it_and_a_source(profile, spec):
    rows = found(FULL[spec], profile).values()
    assert len({row.id for row in rows}) == len(rows)
    for row in rows:
        if row.status in (Status.ABSENT, Status.NOT_APPLICABLE):
            assert not row.pointer
            assert not row.place
        else:
            assert row.place
            assert value_at(FULL[spec], row.pointer)[0]


@pytest.mark.parametrize("profile", profiles())
def test_both_versions_come_to_the_same(profile):
    one, two = (found(FULL[spec], profile) for spec in FULL)
    assert {key: (row.status, row.pointer, row.place) for key, row in one.items()} == {
        key: (row.status, row.pointer, row.place) for key, row in two.items()
    }


def test_grades_of_a_full_document():
    rows = found(FULL["1.6"], "g7-2026")
    status = {key: row.status for key, row in rows.items()}
    assert status["MDL-07"] is Status.OBSERVED
    assert status["MDL-12"] is Status.DECLARED
    assert rows["MDL-12"].place == "README.md#/license"
    assert status["DP-05"] is status["DP-10"] is status["KPI-02"] is status["MDL-04"] is Status.ATTESTED
    assert status["DP-08"] is status["SP-01"] is status["MD-05"] is Status.ABSENT
    assert status["MDL-10"] is Status.DECLARED
    assert status["MD-09"] is Status.OBSERVED


def test_a_bare_file_has_hardly_anything_and_nothing_is_made_up():
    status = {key: row.status for key, row in found(BARE, "g7-2026").items()}
    here = {key for key, value in status.items() if value is not Status.ABSENT}
    assert here == {
        "MD-01", "MD-02", "MD-03", "MD-04", "MD-06", "MD-07", "MD-08", "MD-09", "SLP-01", "SLP-02", "SLP-04",
        "MDL-01", "MDL-02", "MDL-03", "MDL-07", "MDL-08",
    }  # fmt: skip
    own = {key: row.status for key, row in found(BARE, "weighbridge-1").items()}
    assert own["tokenizer"] is own["parents"] is own["packages-hashed"] is Status.NOT_APPLICABLE
    assert own["licence"] is Status.ABSENT


def test_a_signature_counts_when_a_bundle_is_named():
    assert found(BARE, "g7-2026", signed="sha256:" + "a" * 64)["MD-05"].status is Status.ATTESTED


def test_what_each_must_have_is_absent_when_one_lacks_it():
    row = found(FULL["1.6"], "weighbridge-1")["parents-bound"]
    assert row.status is Status.ABSENT
    assert row.missing == 3
    assert row.first in {"org/left", "org/right", "org/lora"}
    alone = made({"w.bin": b"x"}, claims=CLAIMS[:1])
    assert found(alone, "weighbridge-1")["parents-bound"].status is Status.ATTESTED
    assert found(alone, "weighbridge-1")["datasets-bound"].status is Status.ATTESTED


@pytest.mark.parametrize("text", ["NOASSERTION", "unknown", "N/A", " ", "TBD", "None", ""])
def test_a_placeholder_never_counts(text):
    foreign = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "metadata": {"component": {"name": text, "version": text}},
    }
    assert found(foreign, "g7-2026")["MDL-01"].status is Status.ABSENT


def test_a_stranger_s_values_are_declared_by_the_document():
    foreign = {"bomFormat": "CycloneDX", "specVersion": "1.6", "metadata": {"component": {"name": "x"}}}
    row = found(foreign, "g7-2026")["MDL-01"]
    assert (row.status, row.place) == (Status.DECLARED, "this document")
    assert found(foreign, "g7-2026")["MD-03"].status is Status.DECLARED


def test_places():
    tree = {"a": [{"k": "one", "v": 1}, {"k": "only", "v": 2}, {"w": {"x/y": 3}}]}
    assert dict(select(tree, "/a/[k=one]/v")) == {"/a/0/v": 1}
    assert dict(select(tree, "/a/[k=on*]/v")) == {"/a/0/v": 1, "/a/1/v": 2}
    assert dict(select(tree, "/a/[w]/w/x~1y")) == {"/a/2/w/x~1y": 3}
    assert dict(select(tree, "/a/*/v")) == {"/a/0/v": 1, "/a/1/v": 2}
    assert dict(select(tree, "/a/k")) == {}


def test_profiles_and_answers_have_their_schemas():
    from pathlib import Path

    folder = Path(__file__).parents[2] / "docs" / "reference" / "schemas"
    profile = json.loads((folder / "bom-profile.schema.json").read_text())
    answer = json.loads((folder / "assessment.schema.json").read_text())
    for name in profiles():
        jsonschema.Draft202012Validator(profile).validate(read_profile(name))
        for bom in (*FULL.values(), BARE):
            jsonschema.Draft202012Validator(answer).validate(
                envelope("assessment", [assess(bom, read_profile(name)).to_json()])
            )
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(profile).validate(
            {**read_profile("g7-2026"), "elements": [{"id": "x"}]}
        )
    closed = answer["properties"]["assessments"]["items"]["properties"]["elements"]["items"]["properties"][
        "status"
    ]["enum"]
    assert closed == [status.value for status in Status]
    assert FILES
