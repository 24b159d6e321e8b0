"""The whole drill: three attackers end as announced, and the page shows what is printed."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

pytestmark = [pytest.mark.full, pytest.mark.timeout(900)]

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs" / "reference"
PAGE = (REFERENCE / "drill.md").read_text(encoding="utf-8")


def drill(home, *words):
    environ = {"HOME": str(home), "PATH": os.environ["PATH"], "NO_COLOR": "1", "LANG": "C.UTF-8"}
    command = [sys.executable, "-m", "weighbridge", "drill", *words]
    return subprocess.run(
        command, env=environ, cwd=home, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )


def timeless(text):
    """Return the text with times, digests, ids and registry names taken out, and folded into single spaces."""
    text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "TIME", " ".join(text.split()))
    text = re.sub(r"\b(sha256|wb1|wbw1):[0-9a-f]{12,64}", r"\1:DIGEST", text)
    return re.sub(r"\b[0-9a-f]{16}\b", "ID", text)


def test_the_page_shows_what_the_drill_prints(tmp_path):
    done = drill(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    transcript = PAGE.partition("```text\n")[2].partition("```")[0]
    assert timeless(done.stdout) == timeless(transcript), "show it again: weighbridge drill --output FILE"
    assert list(tmp_path.iterdir()) == [], "the drill left something in a home"


def test_a_story_as_data(tmp_path):
    done = drill(tmp_path, "opportunist", "--format", "json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    schema = json.loads((REFERENCE / "schemas" / "drill.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema).validate(document)
    (told,) = document["drills"]
    assert told["failed"] == 0
    assert told["tried"] == len(told["steps"]) == told["stopped"] + told["shown"] + told["open"]


def test_the_page_of_one_story(tmp_path):
    done = drill(tmp_path, "opportunist", "--format", "markdown", "--output", str(tmp_path / "drill.md"))
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "drill.md").read_text(encoding="utf-8")
    assert text.startswith("# Drill\n\n## opportunist\n")
    rows = [line for line in text.splitlines() if line.startswith("| opportunist.")]
    assert len(rows) == 15
    assert all(len(re.split(r"(?<!\\)\|", row)) == 7 for row in rows)
