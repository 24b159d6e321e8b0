# ruff: noqa: RUF001  letters that look alike are what is tested here
"""Names: what is called like something well known is remarked on, honest names of any script are not."""

import json
from importlib import resources

import pytest

from weighbridge.core.digest import Digest
from weighbridge.core.finding import Verdict
from weighbridge.core.manifest import FileEntry, Manifest
from weighbridge.scanner.engine import scan_files
from weighbridge.scanner.file import from_bytes
from weighbridge.scanner.lookalike_rules import asked_for, examine, judge_name, skeleton

BROKEN, UNLISTED, NOTES = Verdict.BROKEN, Verdict.UNLISTED, Verdict.NOTES
DATA = json.loads((resources.files("weighbridge.scanner") / "data" / "popular_names.json").read_bytes())


@pytest.mark.parametrize(
    ("reference", "rule", "verdict"),
    [
        ("0penai/gpt-oss-20b", "name-lookalike", UNLISTED),
        ("rnicrosoft/phi-4", "name-lookalike", UNLISTED),
        ("meta-1lama/x", "name-lookalike", UNLISTED),
        ("оpenai/whisper", "name-hidden", BROKEN),
        ("ореnаі/x", "name-hidden", BROKEN),
        ("ｏｐｅｎａｉ/x", "name-lookalike", BROKEN),
        ("meta\u200b-llama/Llama", "name-hidden", BROKEN),
        ("meta-llama/Llama\u202e", "name-hidden", BROKEN),
        ("metallama/Llama-3.1-8B", "name-lookalike", NOTES),
        ("meta_llama/x", "name-lookalike", NOTES),
        ("mistrallai/x", "name-lookalike", NOTES),
        ("mistrali/x", "name-lookalike", NOTES),
        ("mirsosoft/x", "name-lookalike", None),
        ("micorsoft/x", "name-lookalike", NOTES),
        ("hf://deepseekai/DeepSeek-R1@main", "name-lookalike", NOTES),
        ("https://huggingface.co/stabiltyai/x", "name-lookalike", NOTES),
        ("someone/Llama-3.1-8B", "name-lookalike", NOTES),
        ("someone/bert-base-uncasd", "name-lookalike", NOTES),
    ],
)
def test_a_name_like_a_well_known_one_is_remarked_on(reference, rule, verdict):
    found = [(finding.rule, finding.verdict) for finding in judge_name(reference)]
    assert found == ([(rule, verdict)] if verdict else [])


@pytest.mark.parametrize(
    "reference",
    [
        "meta-llama/Llama-3.1-8B", "Meta-Llama/llama-3.1-8b", "hf://openai/whisper-tiny@0123abc", "someone/my-model", "gpt2",
        "/srv/models/0penai/x", "./metallama/x", "компания/модель", "会社/モデル", "someone/Qwen2.5-7B-Instruct-GGUF",
        "someone/Qwen4-8B", "acme/résumé-tagger", "acme/Qwen3-9B", "",
    ],
)  # fmt: skip
def test_honest_names_say_nothing(reference):
    assert judge_name(reference) == ()


@pytest.mark.parametrize("name", DATA["models"])
def test_no_well_known_model_looks_like_another(name):
    assert judge_name(name) == ()


def test_the_list_is_sorted_and_has_a_date():
    assert DATA["written"]
    for rows in (DATA["organisations"], DATA["models"]):
        assert rows == sorted(set(rows), key=str.lower)


@pytest.mark.parametrize("name", ["config.jsоn", "a/mоdel.bin", "gpj.\u202eexe", "a\u200bb.txt", "\ufeffx"])
def test_file_names_that_show_other_letters_are_broken(name):
    found = list(examine(from_bytes(name, b"x", "text", text="x")))
    assert [(finding.rule, finding.verdict) for finding in found] == [("name-hidden", BROKEN)]
    assert found[0].message.isascii()


@pytest.mark.parametrize(
    "name", ["модель.bin", "模型v2.safetensors", "modèle.txt", "λ-return.txt", "модельv2.bin", "Größe"]
)
def test_file_names_of_any_script_say_nothing(name):
    assert list(examine(from_bytes(name, b"x", "text", text="x"))) == []


def test_looks_are_compared_by_a_common_form():
    assert skeleton("Rnicr0soft") == skeleton("microsoft")
    assert skeleton("llama") != skeleton("lama")


def test_the_base_model_of_an_adapter_is_judged_as_well():
    def found(name):
        text = json.dumps({"base_model_name_or_path": name})
        return [
            one.rule for one in examine(from_bytes("adapter_config.json", text.encode(), "json", text=text))
        ]

    assert found("0penai/gpt-oss-20b") == ["name-lookalike"]
    assert found("openai/gpt-oss-20b") == found("someone/gpt-oss-20b") == found("/srv/x") == []


def test_a_report_is_given_what_is_to_be_said_of_the_name():
    report = scan_files("m", Manifest.of([FileEntry("a", 0, Digest.of(b""))]), lambda _: b"")
    assert asked_for(report, "meta-llama/Llama-3.1-8B") == report
    assert asked_for(report, "metallama/Llama-3.1-8B").verdict is Verdict.NOTES
    assert asked_for(report, "m\u0435ta-llama/Llama-3.1-8B").verdict is Verdict.BROKEN
