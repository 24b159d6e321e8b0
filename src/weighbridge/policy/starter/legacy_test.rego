package weighbridge.legacy_test

import data.weighbridge.legacy

settings := {
	"scan": {"max_age_days": 30, "notes_allowed": true, "formats": ["safetensors"]},
	"licences": {"allow": [], "deny": [], "refuse": []},
	"legacy": {"until": "2027-01-31T00:00:00Z"},
	"require": {"legacy": off},
	"waivers": {"allowed": true, "max_valid_days": 90},
	"log": {"assurance": "single-operator"},
}

off := {
	"assurance": false,
	"as_announced": false,
	"bom": false,
	"datasets_signed": false,
	"dependencies_hashed": false,
	"evaluated": false,
	"max_claim_days": false,
	"max_depth": false,
	"no_waivers": false,
	"probed": false,
	"revision_pinned": false,
	"ruleset": false,
	"scan_verdict": false,
	"slsa_level": false,
}

good := {
	"action": "admit",
	"evaluated_at": "2026-11-22T12:00:00Z",
	"floor": [{"id": "bytes.match", "outcome": "pass"}],
	"evidence": {
		"schema": "weighbridge.evidence/1",
		"manifest": "wb1:00",
		"origin": "legacy",
		"authority": {"expires": "2027-11-22T00:00:00Z"},
		"scan": {"scanned_at": "2026-11-20T00:00:00Z", "verdict": "clean", "by_gate": true, "complete": true, "manifest": "wb1:00", "formats": {"model.safetensors": "safetensors"}},
		"claims": [],
		"waivers": [],
		"advisories": [],
		"revocations": [],
		"licence": {"findings": [], "obligations": []},
		"contradictions": [],
	},
}

evidence(changes) := object.union(good, {"evidence": object.union(good.evidence, changes)})

denied_by(rule) if {
	not legacy.allow
	rule in {row.rule | some row in legacy.deny}
}

test_what_runs_may_go_on_until_its_end if {
	legacy.allow with input as good with data.settings as settings with data.weight_suffixes as [".safetensors"]
}

test_it_is_never_promoted if {
	denied_by("legacy.action") with input as object.union(good, {"action": "promote"}) with data.settings as settings
}

test_its_end_comes if {
	denied_by("legacy.until") with input as object.union(good, {"evaluated_at": "2027-01-31T00:00:00Z"}) with data.settings as settings
}

test_without_an_end_it_may_not_go_on if {
	denied_by("legacy.until") with input as good with data.settings as object.union(settings, {"legacy": {"until": ""}})
}

test_its_end_is_told_a_month_before if {
	asked := object.union(good, {"evaluated_at": "2027-01-02T00:00:00Z"})
	"legacy.until" in {row.rule | some row in legacy.warn} with input as asked with data.settings as settings
}

test_dangerous_findings_deny if {
	denied_by("legacy.scan") with input as evidence({"scan": object.union(good.evidence.scan, {"verdict": "dangerous"})}) with data.settings as settings
}

test_an_advisory_denies if {
	denied_by("legacy.taint") with input as evidence({"advisories": [{"id": "adv-1"}]}) with data.settings as settings
}

test_our_own_models_are_not_judged_here if {
	denied_by("class") with input as evidence({"origin": "own"}) with data.settings as settings
}
