"""The formulas of docs/reference/{decision,ruleset}.md, written down again from the page with hashlib and json alone."""

import hashlib
import json
from importlib import resources

from weighbridge.core.finding import Finding, Location, Severity, Verdict
from weighbridge.scanner import engine
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
    assert str(result.id) == "sha256:" + hashlib.sha256(jcs(result.decision.to_json())).hexdigest()


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


def test_the_ruleset_digest_is_what_the_page_says():
    rules = engine.ruleset()
    sources = {}
    for room in ("weighbridge.scanner", "weighbridge.formats"):
        for path in resources.files(room).iterdir():
            if path.name.endswith(".py"):
                sources[f"{room}/{path.name}"] = hashlib.sha256(path.read_bytes()).hexdigest()
    for path in (resources.files("weighbridge.scanner") / "profiles").iterdir():
        if path.name.endswith(".json"):
            sources[f"profiles/{path.name}"] = hashlib.sha256(path.read_bytes()).hexdigest()
    document = {
        "readers": sorted(reader for module in engine.owners() for reader in module.READERS),
        "rules": {rule.id: rule.verdict.value for rule in engine.all_rules().values()},
        "sources": sources,
        "version": rules.version,
    }
    assert str(rules.digest) == "sha256:" + hashlib.sha256(jcs(document)).hexdigest()
