"""The formulas of docs/reference/{decision,ruleset}.md, written down again from the page with hashlib and json alone."""

import ast
import hashlib
import json
import sys
from importlib import metadata, resources

from weighbridge.core.finding import Finding, Location, Severity, Verdict
from weighbridge.scanner import ruleset
from world import World


def jcs(value):
    """Canonical JSON for values without floats and with keys inside the basic plane."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def test_the_id_of_a_decision_is_the_digest_of_its_bytes(tmp_path):
    world = World(tmp_path)
    folder = world.model()
    world.take(folder)
    result = world.promote(folder)
    world.registry.close()
    assert str(result.id) == "sha256:" + hashlib.sha256(jcs(result.body)).hexdigest()
    assert result.body.items() >= result.decision.to_json().items()


def test_a_fingerprint_is_rule_path_members_subject():
    finding = Finding(
        "pickle-call",
        Verdict.DANGEROUS,
        Severity.ERROR,
        Location("a.bin", ("x/data.pkl",), 7),
        "m",
        subject="posix.system",
    )
    expected = hashlib.sha256(jcs(["pickle-call", "a.bin", ["x/data.pkl"], "posix.system"])).hexdigest()[:32]
    assert finding.fingerprint == expected


def counted(folder, name):
    for item in folder.iterdir():
        if item.is_dir():
            yield from counted(item, f"{name}/{item.name}")
        elif item.name.endswith((".py", ".json", ".tsv", ".txt")):
            yield f"{name}/{item.name}", hashlib.sha256(item.read_bytes()).hexdigest()


def test_the_ruleset_digest_is_what_the_page_says():
    sources = {}
    for room in ("weighbridge.formats", "weighbridge.scanner"):
        sources.update(counted(resources.files(room), room))
    libraries = {"python": f"{sys.version_info.major}.{sys.version_info.minor}"}
    for name in ruleset.LIBRARIES:
        try:
            libraries[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            libraries[name] = "absent"
    document = {"libraries": libraries, "sources": sources, "version": ruleset.VERSION}
    assert str(ruleset.ruleset().digest) == "sha256:" + hashlib.sha256(jcs(document)).hexdigest()


def test_every_parser_that_is_not_ours_counts_into_the_ruleset():
    """Whatever formats and scanner import beside the standard library and Weighbridge itself."""
    imported = set()
    for room in ruleset.ROOMS:
        for path in (ruleset.PACKAGE / room).rglob("*.py"):
            tree = ast.parse(path.read_text())
            typing = [
                node
                for node in ast.walk(tree)
                if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
            ]
            for node in typing:
                node.body = []  # never imported
            for node in ast.walk(tree):
                if isinstance(node, ast.Import):
                    imported |= {alias.name.split(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and not node.level:
                    imported.add(node.module.split(".")[0])
                elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "import_module":
                    imported |= {arg.value for arg in node.args if isinstance(arg, ast.Constant)}
    foreign = imported - sys.stdlib_module_names - {"weighbridge"}
    assert {{"yaml": "pyyaml"}.get(name, name) for name in foreign} == set(ruleset.LIBRARIES)
