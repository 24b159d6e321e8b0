"""Pictures in a real browser, in both schemes: nothing that is written reaches over the edge, and text stands out from its ground."""

import html
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "gate"))

from test_gate_pictures import drawn, family

pytestmark = pytest.mark.full

BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))),
    None,
)
MEASURE = """
// Class g is the ground that is drawn behind words which stand on lines.
const svg = document.querySelector("svg"), box = svg.getBoundingClientRect();
const light = rgb => rgb.map(c => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
  .reduce((sum, c, at) => sum + c * [0.2126, 0.7152, 0.0722][at], 0);
const parse = colour => colour.match(/[0-9.]+/g).slice(0, 3).map(Number);
const rows = [...svg.querySelectorAll("text:not(.g)")].map(text => {
  const place = text.getBoundingClientRect(), x = place.x + 2, y = place.y + place.height / 2;
  const below = document.elementsFromPoint(x, y).find(one => one.tagName === "rect") || svg.querySelector("rect");
  const [a, b] = [getComputedStyle(text).fill, getComputedStyle(below).fill].map(c => light(parse(c)));
  return [text.textContent, place.right - box.right, box.left - place.left, place.bottom - box.bottom,
          (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)];
});
document.body.textContent = "";
const said = document.createElement("pre");
said.textContent = JSON.stringify({dark: matchMedia("(prefers-color-scheme: dark)").matches, rows});
document.body.append(said);
"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("number", [1, 8, 60, 800])
def test_every_word_stands_inside_the_picture_and_can_be_read(tmp_path, number, dark):
    assert BROWSER, "a Chromium is needed: apt-get install chromium"
    text, _ = drawn(family(number, label="a model with quite a long name, number {}"), "What came of a base")
    page = tmp_path / "page.html"
    page.write_text(
        f"<!doctype html><meta charset=utf-8><body style='margin:0;height:20000px'>{text}<script>{MEASURE}</script>"
    )
    told = subprocess.run(
        [
            BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
            f"--blink-settings=preferredColorScheme={0 if dark else 1}", "--window-size=8000,20000", "--dump-dom", page.as_uri(),
        ],
        capture_output=True, timeout=100, check=True, text=True,
    ).stdout  # fmt: skip
    found = re.search(r"<pre>(.*?)</pre>", told, re.DOTALL)
    assert found, told[-2000:]
    answer = json.loads(html.unescape(found[1]))
    assert answer["dark"] is dark
    assert len(answer["rows"]) > 8
    over = [row for row in answer["rows"] if max(row[1:4]) > 0]
    assert not over
    faint = [row for row in answer["rows"] if row[4] < 4.5]
    assert not faint
