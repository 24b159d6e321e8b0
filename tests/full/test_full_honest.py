"""Honest files, written by the real libraries at test time: the scanner leaves them alone."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from honest.catalogue import read_list
from honest.measure import lines, table, weigh

from weighbridge.core.finding import Verdict

pytestmark = pytest.mark.full

HERE = Path(__file__).parent
# Two processes, about as long as each other; torch and scikit-learn never share one, so neither changes the other.
# "plain" comes last: once dill is imported, the pickles that joblib writes name dill as well.
HALVES = (("numeric", "learned", "boosted", "plain"), ("torches", "graphs", "hub"))
LIBRARIES = (
    *(
        "accelerate",
        "cloudpickle",
        "dill",
        "gguf",
        "h5py",
        "joblib",
        "lightgbm",
        "lz4",
        "onnx",
        "pandas",
        "peft",
    ),
    *("scipy", "sentencepiece", "skops", "sklearn", "tokenizers", "torch", "transformers", "xgboost"),
)
ENOUGH = 600
ALLOWED = 0.03
BESIDE = 0.03
"""Outside of scikit-learn, whose many estimators must not hide what the rest is like: zones, distributions, odd types."""

missing = [name for name in LIBRARIES if importlib.util.find_spec(name) is None]
if missing and os.environ.get("FULL") != "1":
    pytest.skip(f"{', '.join(missing)}: `make test FULL=1` installs them", allow_module_level=True)


def generate(folder):
    """Write all families below `folder`, each half in a process of its own, and return what was made."""
    environment = os.environ | {"PYTHONPATH": str(HERE), "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"}
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "honest", str(folder), *families],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for families in HALVES
    ]
    said = [process.communicate()[0] for process in running]
    assert [process.returncode for process in running] == [0, 0], "\n".join(said)
    made, skipped = [], []
    for family in (family for half in HALVES for family in half):
        more, less = read_list(folder / f"{family}.json")
        made += more
        skipped += less
    return made, skipped


@pytest.mark.timeout(600)
def test_the_scanner_leaves_honest_files_alone(tmp_path, capsys):
    made, skipped = generate(tmp_path)
    rows = [weigh(tmp_path, item) for item in made]
    blocked = [row for row in rows if not row.verdict.passes]
    reasons = "\n".join(lines(blocked))
    with capsys.disabled():
        sys.stdout.write(f"\n{table(rows)}\nblocked, and why:\n{reasons}\n")
        sys.stdout.write("".join(f"not written: {line}\n" for line in skipped))
    assert len(rows) >= ENOUGH
    assert [row.path for row in rows if row.verdict is Verdict.DANGEROUS] == []
    assert len(blocked) <= ALLOWED * len(rows), reasons
    others = [row for row in rows if row.library != "scikit-learn"]
    assert sum(not row.verdict.passes for row in others) <= BESIDE * len(others), "outside of scikit-learn"


def test_pandas_beside_pyarrow_is_blocked_and_not_called_dangerous(tmp_path):
    """Arrow restores arrays from buffers without looking at their offsets, so nothing of pyarrow is listed."""
    pytest.importorskip("pyarrow")
    environment = os.environ | {"PYTHONPATH": str(HERE)}
    subprocess.run([sys.executable, "-m", "honest", str(tmp_path), "arrow"], env=environment, check=True)
    made, skipped = read_list(tmp_path / "arrow.json")
    rows = [weigh(tmp_path, item) for item in made]
    assert (len(rows), skipped) == (3, [])
    assert {row.verdict for row in rows} == {Verdict.UNLISTED}
    for row in rows:
        assert any("pyarrow" in (finding.subject or "") for finding in row.blocking), lines([row])
