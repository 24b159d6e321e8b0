# `weighbridge policy test` runs every rule here whose name begins with test_; each must be true.
package weighbridge.third_party_test

import data.weighbridge.third_party

settings := {
	"scan": {"max_age_days": 30, "notes_allowed": true, "formats": ["safetensors"]},
	"licences": {"allow": [], "deny": ["unknown"], "refuse": ["non-commercial"]},
	"own": {"evaluation_required": true, "builders": [], "minimum": {}},
	"third_party": {"publishers": [], "commit_required": false, "max_valid_days": 400},
	"waivers": {"allowed": true, "max_valid_days": 90},
	"log": {"assurance": "single-operator"},
	"require": {"third_party": off},
}

# What is put in place with `with` is made of plain values: the engine forgets rules that it evaluates only for that.
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

origin := {
	"stage": "origin",
	"outcome": "pass",
	"proof": {"assurance": "single-operator"},
	"detail": {"publisher": "Lab", "licence": "MIT", "commit": "", "expires": "2027-06-01T00:00:00Z"},
}

good := {
	"action": "promote",
	"evaluated_at": "2026-11-22T12:00:00Z",
	"floor": [{"id": "bytes.match", "outcome": "pass"}],
	"evidence": {
		"schema": "weighbridge.evidence/1",
		"origin": "third-party",
		"authority": {"expires": "2027-11-22T00:00:00Z"},
		"scan": {"scanned_at": "2026-11-20T00:00:00Z", "verdict": "clean", "formats": {}},
		"claims": [origin],
		"waivers": [],
		"licence": {"findings": [], "obligations": []},
	},
}

with_origin(changes) := object.union(good, {"evidence": {"claims": [object.union(origin, {"detail": object.union(origin.detail, changes)})]}})

strict(changes) := object.union(settings, {"third_party": changes})

denied_by(rule) if {
	not third_party.allow
	rule in {row.rule | some row in third_party.deny}
}

test_a_good_model_is_allowed if {
	third_party.allow with input as good with data.settings as settings
}

test_nothing_is_not_allowed if {
	not third_party.allow with input as {} with data.settings as settings
}

test_an_unknown_licence_denies if {
	denied_by("licence") with input as with_origin({"licence": "UNKNOWN"}) with data.settings as settings
}

test_another_publisher_denies if {
	denied_by("origin.publisher") with input as good with data.settings as strict({"publishers": ["Other"]})
}

test_a_file_has_no_commit if {
	denied_by("origin.commit") with input as good with data.settings as strict({"commit_required": true})
}

test_an_endless_acceptance_denies if {
	denied_by("origin.valid") with input as with_origin({"expires": "2030-01-01T00:00:00Z"}) with data.settings as settings
}

test_a_stronger_log_denies if {
	denied_by("log.assurance") with input as good with data.settings as object.union(settings, {"log": {"assurance": "witnessed"}})
}

test_a_waiver_denies_where_none_is_allowed if {
	asked := object.union(good, {"evidence": {"waivers": [{"rule": "r", "expires": "2026-12-01T00:00:00Z"}]}})
	denied_by("waiver") with input as asked with data.settings as object.union(settings, {"waivers": {"allowed": false}})
}

test_a_waiver_that_ended_denies_nothing_where_none_is_allowed if {
	asked := object.union(good, {"evidence": {"waivers": [{"rule": "r", "expires": "2026-11-01T00:00:00Z"}]}})
	not denied_by("waiver") with input as asked with data.settings as object.union(settings, {"waivers": {"allowed": false}})
}

test_a_waiver_whose_end_is_unknown_denies_where_none_is_allowed if {
	asked := object.union(good, {"evidence": {"waivers": [{"rule": "r"}]}})
	denied_by("waiver") with input as asked with data.settings as object.union(settings, {"waivers": {"allowed": false, "max_valid_days": 90}})
}

test_a_notes_verdict_denies_where_notes_are_not_allowed if {
	asked := object.union(good, {"evidence": {"scan": {"verdict": "notes"}}})
	denied_by("scan.notes") with input as asked with data.settings as object.union(settings, {"scan": {"notes_allowed": false}})
}

test_our_own_models_are_not_judged_here if {
	denied_by("class") with input as object.union(good, {"evidence": {"origin": "own"}}) with data.settings as settings
}
