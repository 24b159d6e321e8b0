"""Templates are found wherever they hide: their own files, tokenizer settings, any string of any JSON file."""

import json

import pytest

from weighbridge.core.finding import Verdict
from weighbridge.scanner import template_rules
from weighbridge.scanner.file import from_bytes

EVIL = "{{ messages.__class__.__mro__[1].__subclasses__() }}"
GOOD = "{% for m in messages %}{{ m['role'] }}: {{ m.content }}{% endfor %}"


def findings(path, text, kind="json"):
    return list(template_rules.examine(from_bytes(path, text.encode(), kind, text=text)))


def rules(path, value, kind="json"):
    return {
        (f.rule, f.verdict)
        for f in findings(path, value if isinstance(value, str) else json.dumps(value), kind)
    }


DANGEROUS = {("template-code", Verdict.DANGEROUS)}


@pytest.mark.parametrize(
    ("path", "value", "kind"),
    [
        ("chat_template.jinja", EVIL, "jinja"),
        ("additional/tool_use.jinja", EVIL, "text"),
        ("tokenizer_config.json", {"chat_template": EVIL}, "json"),
        ("tokenizer_config.json", {"chat_template": [{"name": "default", "template": EVIL}]}, "json"),
        ("tokenizer_config.json", {"chat_template": {"default": GOOD, "rag": EVIL}}, "json"),
        ("processor_config.json", {"chat_template": EVIL}, "json"),
        ("chat_template.json", {"chat_template": EVIL}, "json"),
        ("whatever.json", {"a": [{"b": EVIL}]}, "json"),
        ("whatever.json", '{"a": "\\u007b\\u007b x.__class__ \\u007d\\u007d"}', "json"),
        ("whatever.json", '{"a": "{\\u007b x.__class__ }}"}', "json"),
        ("whatever.json", '{"a": "{% if x.__class__ %}{% endif %}"}', "json"),
        ("settings", {"a": EVIL}, "text"),
        ("chat_template.txt", EVIL, "text"),
        ("template", EVIL, "text"),
        ("alpaca.tmpl", EVIL, "text"),
        ("Alpaca.yaml", f'instruction_template: "{EVIL}"', "text"),
        ("a.yml", f"x:\n  - y: |-\n      {EVIL}\n", "text"),
        ("lines.jsonl", '{"a": 1}\n{"a": "{{ x.__class__ }}"}\n', "json"),
    ],
)
def test_a_dangerous_template_is_found_wherever_it_is(path, value, kind):
    assert rules(path, value, kind) >= DANGEROUS


@pytest.mark.parametrize(
    ("path", "value", "kind"),
    [
        ("chat_template.jinja", GOOD, "jinja"),
        ("tokenizer_config.json", {"chat_template": GOOD}, "json"),
        ("tokenizer_config.json", {"chat_template": [{"name": "{{", "template": GOOD}]}, "json"),
        ("tokenizer_config.json", {"chat_template": None}, "json"),
        (
            "tokenizer.json",
            {"model": {"vocab": [["{{", -1.0], ["}}", -2.0], ["{%", -3.0]]}, "x": {"{{": 5}},
            "json",
        ),
        ("notes.txt", EVIL, "text"),
        ("workflow.yaml", "run: echo ${{ github.ref }}\nif: '{{ x }}'", "text"),
        ("broken.yaml", "a: [" + EVIL, "text"),
        ("template.txt", "just text", "text"),
        ("notes.txt", "[1] " + EVIL, "text"),
        ("broken.json", "{{ not json", "json"),
    ],
)
def test_ordinary_files_say_nothing(path, value, kind):
    assert rules(path, value, kind) == set()


def test_a_declared_template_that_does_not_parse_is_broken_another_string_is_a_note():
    assert rules("tokenizer_config.json", {"chat_template": "{{ x"}) == {("template-broken", Verdict.BROKEN)}
    assert rules("prompts.json", {"prompt": "{{ say {{ something }} }} nicely"}) == {
        ("template-broken", Verdict.NOTES)
    }


def test_too_much_is_unread():
    assert rules("x.json", {"chat_template": "x" * 2_000_000}) == {("template-unread", Verdict.UNREAD)}
    many = [f"{{{{ x{i} }}}}" for i in range(template_rules.MAX_TEMPLATES + 1)]
    assert rules("x.json", many) == {("template-unread", Verdict.UNREAD)}


def test_a_finding_shows_place_and_line_and_no_control_characters():
    text = json.dumps({"chat_template": "a\n{{ x.__class__ }}\x1b[31m"})
    (finding,) = findings("tokenizer_config.json", text)
    assert finding.evidence == ("2: {{ x.__class__ }}\\x1b[31m",)
    assert "/chat_template" in finding.message
    assert finding.fingerprint


def test_a_lone_surrogate_in_a_key_still_has_a_fingerprint():
    (finding,) = findings("x.json", '{"\\ud800": "{{ x.__class__ }}"}')
    assert finding.fingerprint


@pytest.mark.parametrize("name", ["chat_template.json", "tokenizer_config.json", "my_template.json"])
def test_a_template_in_json_is_read_as_json_whatever_the_file_is_called(name):
    escaped = r"{{ ''['\x5f\x5f\x63lass\x5f\x5f']['\x5f\x5fmro\x5f\x5f'] }}"
    assert rules(name, {"chat_template": escaped}) == DANGEROUS
