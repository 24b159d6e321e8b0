# What the rules of all classes share. Each condition is written as what must be true, and a rule denies
# when it is not: so what is missing or undefined denies too.
package weighbridge.lib

import data.weighbridge.predicates

settings := data.settings

evidence := input.evidence

now := time.parse_rfc3339_ns(input.evaluated_at)

day := ((24 * 60) * 60) * 1000000000

# The claims that the gate has verified.
verified contains claim if {
	some claim in evidence.claims
	claim.outcome == "pass"
}

of_stage(stage) := {claim | some claim in verified; claim.stage == stage}

# Rules for models of every class.

denials contains {"rule": "scan.age", "msg": sprintf("the scan is missing or older than %d days", [settings.scan.max_age_days])} if {
	not scan_recent
}

denials contains {"rule": "scan.notes", "msg": "the scanner has notes, and scan.notes_allowed is false"} if {
	not notes_acceptable
}

denials contains {"rule": "scan.formats", "msg": sprintf("%s is stored as %v; allowed are %s", [path, format, concat(", ", settings.scan.formats)])} if {
	some path, format in evidence.scan.formats
	some suffix in data.weight_suffixes
	endswith(lower(path), suffix)
	not format in settings.scan.formats
}

denials contains {"rule": "scan.formats", "msg": "nobody says what its files are stored as"} if {
	is_object(evidence.scan)
	not formats_known
}

denials contains {"rule": "licence", "msg": sprintf("the licence %s of %s is not allowed", [licence, name])} if {
	some [name, licence] in licences
	not licence_allowed(licence)
}

denials contains {"rule": "licence", "msg": sprintf("the verified %s claim names no licence", [claim.stage])} if {
	some claim in of_stage("origin") | of_stage("data")
	not names_licence(claim)
}

# What licences ask for over the whole ancestry was composed by the gate; a finding that blocks can be waived.
denials contains {"rule": finding.rule, "msg": finding.message} if {
	some finding in evidence.licence.findings
	finding.effect == "block"
	not excused(finding)
}

denials contains {"rule": "licence.refused", "msg": sprintf("it is under a duty that licences.refuse names: %s, by %s of %s", [obligation.duty, obligation.licence, obligation.label])} if {
	some obligation in evidence.licence.obligations
	obligation.duty in settings.licences.refuse
}

denials contains {"rule": "licence.composed", "msg": "nobody composed its licences over what it came from"} if {
	not licences_composed
}

denials contains {"rule": "waiver", "msg": "waivers are not allowed, and this model has one"} if {
	some waiver in evidence.waivers
	not predicates.over(waiver) # what has ended excuses nothing, so it denies nothing either
	not settings.waivers.allowed
}

denials contains {"rule": "waiver", "msg": sprintf("the waiver for %s reaches further ahead than %d days", [waiver.rule, settings.waivers.max_valid_days])} if {
	some waiver in evidence.waivers
	not short(waiver)
}

denials contains {"rule": "log.assurance", "msg": sprintf("the log proof of a %s claim is %v; %s is asked for", [claim.stage, claim.proof.assurance, settings.log.assurance])} if {
	some claim in verified
	not assured(claim)
}

denials contains {"rule": "question", "msg": "this is no question about evidence that this policy knows"} if {
	not known_question
}

# What is worth knowing, and blocks nothing.

warnings contains {"rule": "authority.expires", "msg": sprintf("the authority expires %s", [evidence.authority.expires])} if {
	within(evidence.authority.expires, 30)
}

warnings contains {"rule": "origin.expires", "msg": sprintf("the acceptance of %s expires %s", [claim.detail.publisher, claim.detail.expires])} if {
	some claim in of_stage("origin")
	within(claim.detail.expires, 30)
}

warnings contains {"rule": finding.rule, "msg": finding.message} if {
	some finding in evidence.licence.findings
	finding.effect == "warn"
}

warnings contains {"rule": finding.rule, "msg": sprintf("%s (waived: %s)", [finding.message, waiver.reason])} if {
	some finding in evidence.licence.findings
	finding.effect == "block"
	some waiver in waivers_of(finding)
}

warnings contains {"rule": "contradiction", "msg": row.message} if some row in contradictions

# Conditions.

# What the tensors show and the claims do not say; empty also where nobody looked, which own.rego denies.
default contradictions := []

contradictions := evidence.contradictions if is_array(evidence.contradictions)

contradictions_known if {
	is_array(evidence.contradictions)
	count([row | some row in evidence.contradictions; not has(row, "kind")]) == 0
	count([row | some row in evidence.contradictions; not has(row, "message")]) == 0
}

licences_composed if {
	is_array(evidence.licence.findings)
	is_array(evidence.licence.obligations)
	count([finding | some finding in evidence.licence.findings; not has(finding, "effect")]) == 0
	count([finding | some finding in evidence.licence.findings; not has(finding, "rule")]) == 0
	count([finding | some finding in evidence.licence.findings; not has(finding, "message")]) == 0
	count([owed | some owed in evidence.licence.obligations; not has(owed, "duty")]) == 0
}

contradictions_known if is_array(evidence.contradictions)

# Each asks of a claim as a whole: what is negated is never a call with a part that may be missing, since OPA
# then finds neither it nor its negation true, and other engines do.
formats_known if is_object(evidence.scan.formats)

has(row, name) if is_string(row[name])

went_well(claim) if claim.detail.result in {"PASSED", "WARNED"}

names_licence(claim) if is_string(claim.detail.licence)

by_known_builder(claim) if claim.detail.builder in settings.own.builders

by_known_publisher(claim) if claim.detail.publisher in settings.third_party.publishers

at_commit(claim) if regex.match("^[0-9a-f]{40,64}$", claim.detail.commit)

accepted_for_now(claim) if within(claim.detail.expires, settings.third_party.max_valid_days)

short(waiver) if within(waiver.expires, settings.waivers.max_valid_days)

told(claim, name) := object.get(claim.detail, name, "that nobody named")

excused(finding) if {
	settings.waivers.allowed
	count(waivers_of(finding)) > 0
}

# A waiver is bound to the model by the gate; here to the finding, and to its end.
waivers_of(finding) := {waiver |
	some waiver in evidence.waivers
	waiver.rule == finding.rule
	waiver.fingerprint == finding.fingerprint
	time.parse_rfc3339_ns(waiver.expires) > now
}

known_question if {
	evidence.schema == "weighbridge.evidence/1"
	is_array(evidence.claims)
	count([claim | some claim in evidence.claims; not formed(claim)]) == 0
	is_array(evidence.waivers)
	is_array(input.floor)
	count(input.floor) > 0
}

# Without one of these nobody could say whether a rule is about the claim.
formed(claim) if {
	is_string(claim.stage)
	is_string(claim.outcome)
	is_object(claim.detail)
	"proof" in object.keys(claim)
}

scan_recent if {
	taken := time.parse_rfc3339_ns(evidence.scan.scanned_at)
	taken <= now
	now - taken <= settings.scan.max_age_days * day
}

notes_acceptable if settings.scan.notes_allowed

notes_acceptable if evidence.scan.verdict == "clean"

within(moment, days) if time.parse_rfc3339_ns(moment) - now <= days * day

licences contains [claim.detail.publisher, claim.detail.licence] if some claim in of_stage("origin")

licences contains [claim.detail.source, claim.detail.licence] if some claim in of_stage("data")

licence_allowed(licence) if {
	not lower(licence) in {lower(other) | some other in settings.licences.deny}
	count(settings.licences.allow) == 0
}

licence_allowed(licence) if {
	not lower(licence) in {lower(other) | some other in settings.licences.deny}
	lower(licence) in {lower(other) | some other in settings.licences.allow}
}

# What was running before there was a gate may go on until the end that its owner has set.
legacy_lasts if predicates.moment(settings.legacy.until) > now

untainted if {
	predicates.not_advised
	predicates.not_revoked
}

assurance_rank := {"single-operator": 0, "witnessed": 1, "public": 2}

assured(claim) if assurance_rank[claim.proof.assurance] >= assurance_rank[settings.log.assurance]
