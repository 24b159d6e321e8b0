# `weighbridge policy test` runs every rule here whose name begins with test_; each must be true.
package weighbridge.own_test

import data.weighbridge.own

settings := {
	"scan": {"max_age_days": 30, "notes_allowed": true, "formats": ["safetensors"]},
	"licences": {"allow": [], "deny": ["CC-BY-NC-4.0"], "refuse": ["non-commercial"]},
	"own": {"evaluation_required": true, "builders": [], "minimum": {}, "contradictions_allowed": false},
	"third_party": {"publishers": [], "commit_required": false, "max_valid_days": 400},
	"waivers": {"allowed": true, "max_valid_days": 90},
	"log": {"assurance": "single-operator"},
	"require": {"own": off},
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

asking(wanted) := object.union(settings, {"require": {"own": object.union(off, wanted)}})

proof := {"assurance": "single-operator"}

claims := [
	{"stage": "data", "outcome": "pass", "proof": proof, "detail": {"source": "a set", "licence": "CC-BY-4.0"}},
	{"stage": "train", "outcome": "pass", "proof": proof, "detail": {"builder": "ours"}},
	{"stage": "package", "outcome": "pass", "proof": proof, "detail": {"builder": "ours"}},
	{"stage": "evaluate", "outcome": "pass", "proof": proof, "detail": {"result": "PASSED", "metrics": {"accuracy": 0.9}}},
]

good := {
	"action": "promote",
	"evaluated_at": "2026-11-22T12:00:00Z",
	"floor": [{"id": "bytes.match", "outcome": "pass"}],
	"evidence": {
		"schema": "weighbridge.evidence/1",
		"origin": "own",
		"authority": {"expires": "2027-11-22T00:00:00Z"},
		"scan": {"scanned_at": "2026-11-20T00:00:00Z", "verdict": "clean", "formats": {"model.safetensors": "safetensors", "README.md": "text"}},
		"claims": claims,
		"waivers": [],
		"licence": {"findings": [], "obligations": []},
		"contradictions": [],
	},
}

evidence(changes) := object.union(good, {"evidence": object.union(good.evidence, changes)})

denied_by(rule) if {
	not own.allow
	rule in {row.rule | some row in own.deny}
}

test_a_good_model_is_allowed if {
	own.allow with input as good with data.settings as settings with data.weight_suffixes as [".safetensors"]
}

test_nothing_is_not_allowed if {
	not own.allow with input as {} with data.settings as settings
}

test_an_old_scan_denies if {
	denied_by("scan.age") with input as object.union(good, {"evaluated_at": "2027-01-22T12:00:00Z"}) with data.settings as settings
}

test_a_scan_from_the_future_denies if {
	denied_by("scan.age") with input as object.union(good, {"evaluated_at": "2026-11-19T12:00:00Z"}) with data.settings as settings
}

test_a_pickle_denies if {
	asked := evidence({"scan": object.union(good.evidence.scan, {"formats": {"Model.BIN": "pickle"}})})
	denied_by("scan.formats") with input as asked with data.settings as settings with data.weight_suffixes as [".bin"]
}

test_a_licence_denies_in_any_case if {
	rows := [{"stage": "data", "outcome": "pass", "proof": proof, "detail": {"source": "a set", "licence": "cc-by-nc-4.0"}}]
	denied_by("licence") with input as evidence({"claims": array.concat(claims, rows)}) with data.settings as settings
}

test_a_failed_evaluation_denies if {
	rows := [{"stage": "evaluate", "outcome": "pass", "proof": proof, "detail": {"result": "FAILED", "metrics": {}}}]
	denied_by("evaluation") with input as evidence({"claims": array.concat(claims, rows)}) with data.settings as settings
}

test_a_refused_evaluation_does_not_count if {
	rows := [object.union(claim, {"outcome": "fail"}) | some claim in claims]
	denied_by("evaluation") with input as evidence({"claims": rows}) with data.settings as settings
}

test_a_metric_below_its_minimum_denies if {
	strict := object.union(settings, {"own": {"evaluation_required": true, "builders": [], "minimum": {"accuracy": 0.95}}})
	denied_by("evaluation.minimum") with input as good with data.settings as strict
}

test_a_third_party_model_is_not_judged_here if {
	denied_by("class") with input as evidence({"origin": "third-party"}) with data.settings as settings
}

laundered := {"rule": "licence.licence-laundering", "effect": "block", "fingerprint": "ab12", "message": "MIT drops non-commercial"}

waiver := {"rule": "licence.licence-laundering", "fingerprint": "ab12", "expires": "2026-12-01T00:00:00Z", "reason": "bought"}

with_licence(fact) := evidence({"licence": object.union({"findings": [], "obligations": []}, fact)})

test_a_licence_that_drops_a_duty_denies if {
	denied_by("licence.licence-laundering") with input as with_licence({"findings": [laundered]}) with data.settings as settings
}

test_a_warning_about_licences_does_not if {
	asked := with_licence({"findings": [object.union(laundered, {"effect": "warn"})]})
	own.allow with input as asked with data.settings as settings with data.weight_suffixes as [".safetensors"]
	"licence.licence-laundering" in {row.rule | some row in own.warn} with input as asked with data.settings as settings
}

test_a_waiver_answers_for_a_licence if {
	asked := evidence({"licence": {"findings": [laundered], "obligations": []}, "waivers": [waiver]})
	own.allow with input as asked with data.settings as settings with data.weight_suffixes as [".safetensors"]
}

test_a_waiver_for_another_finding_does_not if {
	asked := evidence({"licence": {"findings": [laundered], "obligations": []}, "waivers": [object.union(waiver, {"fingerprint": "cd34"})]})
	denied_by("licence.licence-laundering") with input as asked with data.settings as settings
}

test_a_waiver_that_ended_does_not if {
	asked := evidence({"licence": {"findings": [laundered], "obligations": []}, "waivers": [object.union(waiver, {"expires": "2026-11-21T00:00:00Z"})]})
	denied_by("licence.licence-laundering") with input as asked with data.settings as settings
}

test_a_duty_that_is_refused_denies if {
	owed := {"duty": "non-commercial", "licence": "CC-BY-NC-4.0", "label": "base"}
	denied_by("licence.refused") with input as with_licence({"obligations": [owed]}) with data.settings as settings
}

test_licences_that_nobody_composed_deny if {
	denied_by("licence.composed") with input as evidence({"licence": null}) with data.settings as settings
}

contradicted(kind) := evidence({"contradictions": [{"kind": kind, "message": "its tensors are another's"}]})

test_another_base_than_claimed_denies if {
	denied_by("contradiction") with input as contradicted("other-base") with data.settings as settings
}

test_a_base_where_none_is_claimed_denies if {
	denied_by("contradiction") with input as contradicted("not-from-scratch") with data.settings as settings
}

test_a_base_nobody_speaks_of_is_a_warning if {
	some row in own.warn with input as contradicted("undeclared-base") with data.settings as settings
	row.rule == "contradiction"
}

test_contradictions_can_be_allowed if {
	mild := object.union(settings, {"own": object.union(settings.own, {"contradictions_allowed": true})})
	own.allow with input as contradicted("other-base") with data.settings as mild with data.weight_suffixes as [".safetensors"]
}

test_contradictions_nobody_looked_for_deny if {
	denied_by("contradiction") with input as evidence({"contradictions": null}) with data.settings as settings
}

test_a_switch_that_is_missing_is_on if {
	denied_by("require.slsa_level") with input as good with data.settings as object.union(object.remove(settings, ["require"]), {"require": {"own": {}}})
}

test_a_build_level_can_be_asked_for if {
	denied_by("require.slsa_level") with input as good with data.settings as asking({"slsa_level": 2})
	own.allow with input as evidence({"build": {"level": 2}}) with data.settings as asking({"slsa_level": 2}) with data.weight_suffixes as [".safetensors"]
}

test_every_switch_can_be_met if {
	wanted := {
		"assurance": "single-operator",
		"as_announced": true,
		"bom": {"g7-2026": 50},
		"datasets_signed": true,
		"dependencies_hashed": true,
		"evaluated": true,
		"max_claim_days": 30,
		"max_depth": 2,
		"no_waivers": true,
		"probed": true,
		"revision_pinned": true,
		"ruleset": 2,
		"scan_verdict": "clean",
		"slsa_level": 3,
	}
	own.allow with input as thorough with data.settings as asking(wanted) with data.weight_suffixes as [".safetensors"]
	{row.rule | some row in own.deny} == set() with input as thorough with data.settings as asking(wanted)
}

test_no_switch_is_met_by_this if {
	asked := asking({name: true | some name, _ in off})
	denied := {row.rule | some row in own.deny} with input as {} with data.settings as asked
	count([name | some name, _ in off; not sprintf("require.%s", [name]) in denied]) == 0
}

logged := {"assurance": "single-operator", "logged_at": "2026-11-20T00:00:00Z"}

thorough := evidence({
	"manifest": "wb1:00",
	"weights": "wbw1:00",
	"scan": object.union(good.evidence.scan, {"by_gate": true, "complete": true, "manifest": "wb1:00", "ruleset_version": "2", "findings": []}),
	"bom": {"bundle": "sha256:00", "profiles": {"g7-2026": {"asked": 10, "present": 5, "attested": 1}}, "libraries": 2, "hashed": 2},
	"build": {"level": 3},
	"advisories": [],
	"revocations": [],
	"ancestry": {"end": "data", "depth": 1, "links": [["wb1:11", "wbw1:00", "dataset"]]},
	"claims": array.concat(
		[object.union(claim, {"proof": logged, "about": ["wbw1:00"]}) | some claim in claims],
		[
			{"stage": "data", "outcome": "pass", "proof": logged, "about": ["wb1:11"], "detail": {"source": "a set", "licence": "CC-BY-4.0"}},
			{"stage": "evaluate", "outcome": "pass", "proof": logged, "about": ["wbw1:00"], "detail": {"kind": "probe", "result": "PASSED", "metrics": {}}},
			{"stage": "origin", "outcome": "pass", "proof": logged, "about": ["wb1:12"], "detail": {"publisher": "a lab", "licence": "MIT", "commit": "0123456789012345678901234567890123456789", "matches_announced": true, "expires": "2028-11-20T00:00:00Z"}},
		],
	),
})
