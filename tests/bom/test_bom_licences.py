"""Recognising licence texts, reading tags and expressions, and what a model's own files say."""

import json
from importlib import resources
from pathlib import Path

import pytest

from weighbridge.bom.harvest import harvest
from weighbridge.bom.licence_knowledge import knowledge, licence_of, read
from weighbridge.bom.licence_texts import HEAD, KnownText, known_text, recognise, words_of
from weighbridge.bom.licence_words import Basis, Duty
from weighbridge.bom.licences import standing, text_files
from weighbridge.core.digest import Digest
from weighbridge.core.manifest import FileEntry, Manifest

BASE = json.loads(
    resources.files("weighbridge.bom").joinpath("data/licences.json").read_text(encoding="utf-8")
)
APACHE = (Path(__file__).parents[2] / "LICENSE").read_text(encoding="utf-8")
ALPHA, BETA = " ".join(f"a{n}" for n in range(40)), " ".join(f"b{n}" for n in range(40))


def ids(text):
    return [[licence.id for licence in one] for one in read(text)]


def said(**files):
    files = {path.replace("__", "."): data.encode() for path, data in files.items()}
    contents = dict(files)
    manifest = Manifest.of([FileEntry(path, len(data), Digest.of(data)) for path, data in files.items()])

    def open_file(entry):
        import io

        return io.BytesIO(contents[entry.path])

    facts = harvest(manifest, open_file)
    return standing(facts, {path: contents[path].decode() for path in text_files(facts)}, "model")


def card(text):
    return f"---\n{text}\n---\nA model.\n"


def test_a_text_is_known_by_its_words():
    shouted = f"Copyright (c) 2026 Somebody\n\n{APACHE.upper()}\n\nand then something else"
    assert knowledge().in_text(shouted) == ("Apache-2.0",)
    assert knowledge().in_text(APACHE.replace("royalty-free", "royalty-bearing")) == ()
    assert knowledge().in_text(APACHE[: len(APACHE) // 2]) == ()
    assert knowledge().in_text("") == ()


def test_the_typography_of_a_text_does_not_count():
    assert words_of("“Built  with\u00a0Llama”\u2014ﬁne") == words_of('"built with llama" - fine')


def test_two_texts_in_one_file_are_both_found_and_a_longer_one_hides_what_it_holds():
    known = [known_text("A", ALPHA), known_text("B", BETA), known_text("A and B", f"{ALPHA} x {BETA}")]
    assert recognise(f"{BETA} y {ALPHA}", known) == ("B", "A")
    assert recognise(f"{ALPHA} x {BETA}", known) == ("A and B",)
    assert recognise(ALPHA[:-3], known) == ()
    assert recognise("short", [KnownText("A", 1, "", "")]) == ()


def test_every_known_text_has_its_digests():
    for row in knowledge().texts:
        assert row.words > HEAD, row
        assert len(row.head) == len(row.sha256) == 64
    assert len({row.sha256 for row in knowledge().texts}) == len(knowledge().texts)


@pytest.mark.parametrize("row", BASE["licences"], ids=lambda row: row["id"])
def test_each_row_says_where_it_stands(row):
    """Checked rows quote their text for each duty; none is called checked without a digest; all others say so."""
    assert row["checked"] in ("text", "known", "n/a")
    assert row["review"] in ("lawyer", "")
    assert (row["checked"] == "text") == bool(row["texts"])
    for term in row["terms"]:
        assert term["duty"] in {duty.value for duty in Duty}
        if row["checked"] == "text":
            assert term["quote"], term
            assert len(words_of(term["quote"])) <= 40
        else:
            assert "quote" not in term
        if row["checked"] != "n/a" and term["duty"] != "review":
            assert term["section"], term
            assert term["says"], term
    asks = {term["duty"] for term in row["terms"]} - {"attribution"}
    assert not asks or row["review"] == "lawyer", "what asks for more than a notice, a lawyer must see"


def test_what_other_rows_name_exists():
    known = {row["id"] for row in BASE["licences"]}
    for row in BASE["licences"]:
        assert set(row["shares_into"]) | set(row["conflicts"]) <= known | {"CC-BY-SA-3.0"}, row["id"]
    assert {row["licence"] for row in BASE["names"]} <= known
    assert all(row["pattern"] == row["pattern"].casefold() for row in BASE["names"])
    tags = [tag for row in BASE["licences"] for tag in row["tags"]]
    assert len(set(tags)) == len(tags)
    assert all(tag == tag.casefold() for tag in tags)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("apache-2.0", [["Apache-2.0"]]),
        ("Apache License 2.0", [["Apache-2.0"]]),
        ("  MIT ", [["MIT"]]),
        ("llama3.1", [["LicenseRef-scancode-llama-3.1-license-2024"]]),
        ("openrail++", [["LicenseRef-scancode-bigscience-open-rail-m2"]]),
        ("MIT OR GPL-3.0", [["GPL-3.0-only"], ["MIT"]]),
        ("(MIT OR Apache-2.0) AND CC-BY-4.0", [["Apache-2.0", "CC-BY-4.0"], ["CC-BY-4.0", "MIT"]]),
        ("gpl-3.0+", [["GPL-3.0-or-later"]]),
        ("GPL-2.0-only WITH Classpath-exception-2.0", [["GPL-2.0-only"]]),
        ("Zlib OR 0BSD", [["0BSD"], ["Zlib"]]),
    ],
)
def test_tags_names_and_expressions(text, expected):
    assert ids(text) == expected
    assert not any(licence.has(Duty.REVIEW) for one in read(text) for licence in one)


@pytest.mark.parametrize(
    "text",
    ["", "other", "unknown", "openrail", "proprietary, bought", "BUSL-1.1", "GPL-3.0-only WITH Commons-Clause", "(", "MIT AND",
     "MIT AND sold", "\x1b[2J", "a" * 5000, "(" * 900, " AND ".join(f"(a{n} OR b{n})" for n in range(30))],
)  # fmt: skip
def test_what_nobody_knows_is_for_a_person(text):
    assert all(any(licence.has(Duty.REVIEW) for licence in one) for one in read(text))
    assert all(licence.id.isprintable() and len(licence.id) <= 300 for one in read(text) for licence in one)


def test_a_licence_nobody_has_read_is_judged_by_its_category():
    assert {term.duty for term in licence_of("MS-RL").terms} == {Duty.ATTRIBUTION, Duty.SHARE_ALIKE}
    assert licence_of("MS-RL").review


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("meta-llama/Llama-3.1-8B-Instruct", "LicenseRef-scancode-llama-3.1-license-2024"),
        ("Meta-Llama/llama-2-7b-hf", "LicenseRef-scancode-llama-2-license-2023"),
        ("mallory/meta-llama/Llama-3.1-8B", ""),
        ("someone/Llama-3.1-8B", ""),
        ("", ""),
    ],
)
def test_well_known_bases_by_name(name, expected):
    assert knowledge().of_base(name) == expected


def test_the_tag_of_a_card():
    found = said(README__md=card("license: cc-by-nc-4.0"))
    assert (found.text, found.basis, found.place) == ("CC-BY-NC-4.0", Basis.DECLARED, "README.md#/license")


def test_other_is_told_by_its_name():
    found = said(
        README__md=card("license: other\nlicense_name: qwen-research\nlicense_link: https://example.test")
    )
    assert found.text == "LicenseRef-weighbridge-qwen-research"
    assert said(README__md=card("license: other\nlicense_name: mine")).alternatives[0][0].has(Duty.REVIEW)
    assert said(README__md=card("license: other")).alternatives[0][0].has(Duty.REVIEW)


def test_of_several_tags_all_hold():
    assert said(README__md=card("license:\n- mit\n- cc-by-nc-4.0")).text == "MIT AND CC-BY-NC-4.0"
    many = "\n".join(f"- l{number}" for number in range(20))
    assert any(one.has(Duty.REVIEW) for one in said(README__md=card(f"license:\n{many}")).alternatives[0])


def test_nothing_said_is_nothing():
    found = said(config__json="{}")
    assert (found.text, found.alternatives, found.basis) == ("", (), Basis.NONE)


def test_the_text_speaks_where_the_tag_is_silent():
    found = said(LICENSE=f"Copyright 2026\n\n{APACHE}")
    assert (found.text, found.basis, found.place) == ("Apache-2.0", Basis.TEXT, "LICENSE")


def test_a_text_nobody_knows_is_for_a_person():
    assert said(LICENSE="Do as I say.").alternatives[0][0].has(Duty.REVIEW)


def test_neither_text_nor_tag_hides_the_other():
    found = said(LICENSE=APACHE, README__md=card("license: cc-by-nc-4.0"))
    assert {licence.id for licence in found.alternatives[0]} == {"Apache-2.0", "CC-BY-NC-4.0"}
    assert "LICENSE is Apache-2.0, README.md#/license says cc-by-nc-4.0" in found.against


def test_a_text_that_agrees_with_its_tag():
    found = said(LICENSE=APACHE, README__md=card("license: apache-2.0"))
    assert (found.basis, found.against) == (Basis.TEXT, "")


def test_the_licence_of_code_is_not_that_of_weights():
    found = said(
        **{"LICENSE-CODE": APACHE, "LICENSE-MODEL": "Our terms.", "README__md": card("license: other")}
    )
    assert found.alternatives[0][0].has(Duty.REVIEW)
    assert found.basis is Basis.DECLARED
