# What a policy can ask of a model, each named as what must be true; docs/reference/predicates.md has an example of each.
#
# A predicate is true or false and nothing else: about evidence that is missing or of another type it is false.
# Deny when it is not: `deny contains {"rule": …, "msg": "…"} if not predicates.slsa_at_least(2)`.
# The other way round (`deny … if predicates.…`) what is missing would pass.
package weighbridge.predicates

# The scan.

verdicts := {"clean": 0, "notes": 1, "unlisted": 2}

default scan_complete := false

scan_complete if {
	input.evidence.scan.by_gate == true
	input.evidence.scan.complete == true
	input.evidence.scan.manifest == input.evidence.manifest
}

default scan_verdict_at_most(_) := false

scan_verdict_at_most(worst) if {
	scan_complete
	verdicts[input.evidence.scan.verdict] <= verdicts[worst]
}

default scan_within_days(_) := false

scan_within_days(days) if {
	scan_complete
	recent(input.evidence.scan.scanned_at, days)
}

default scan_free_of(_) := false

scan_free_of(rules) if {
	scan_complete
	is_list(rules)
	is_list(input.evidence.scan.findings)
	count([finding | some finding in input.evidence.scan.findings; not harmless(finding, rules)]) == 0
}

harmless(finding, rules) if {
	is_string(finding.rule)
	not finding.rule in rules
}

default ruleset_at_least(_) := false

ruleset_at_least(number) if {
	scan_complete
	is_number(number)
	is_string(input.evidence.scan.ruleset_version)
	regex.match(`^[0-9]{1,9}$`, input.evidence.scan.ruleset_version)
	to_number(input.evidence.scan.ruleset_version) >= number
}

default ruleset_in(_) := false

ruleset_in(digests) if {
	scan_complete
	is_list(digests)
	input.evidence.scan.ruleset in digests
}

# Formats.

default weights_in(_) := false

weights_in(formats) if {
	scan_complete
	is_list(formats)
	count(weight_formats) > 0
	count([format | some format in weight_formats; not format in formats]) == 0
}

default no_file_in(_) := false

no_file_in(formats) if {
	scan_complete
	is_list(formats)
	is_object(input.evidence.scan.formats)
	count(input.evidence.scan.formats) > 0
	count([format | some format in input.evidence.scan.formats; format in formats]) == 0
}

weight_formats[path] := format if {
	is_object(input.evidence.scan.formats)
	is_array(data.weight_suffixes)
	some path, format in input.evidence.scan.formats
	some suffix in data.weight_suffixes
	is_string(suffix)
	endswith(lower(path), suffix)
}

# The bill of materials, and what the model depends on.

default bom_present := false

bom_present if is_string(input.evidence.bom.bundle)

default bom_complete(_, _) := false

bom_complete(profile, percent) if {
	bom_present
	is_number(percent)
	counts := input.evidence.bom.profiles[profile]
	is_number(counts.asked)
	is_number(counts.present)
	counts.asked > 0
	counts.present * 100 >= percent * counts.asked
}

default dependencies_hashed := false

dependencies_hashed if {
	bom_present
	is_number(input.evidence.bom.libraries)
	input.evidence.bom.libraries > 0
	input.evidence.bom.hashed == input.evidence.bom.libraries
}

# Licences.

default licences_composed := false

licences_composed if {
	is_array(input.evidence.licence.findings)
	is_array(input.evidence.licence.obligations)
}

default licences_fit := false

licences_fit if {
	licences_composed
	count([finding | some finding in input.evidence.licence.findings; not bearable(finding)]) == 0
}

bearable(finding) if finding.effect in {"warn", "note"}

default free_of_duties(_) := false

free_of_duties(duties) if {
	licences_composed
	is_list(duties)
	count([owed | some owed in input.evidence.licence.obligations; not allowed_duty(owed, duties)]) == 0
}

allowed_duty(owed, duties) if {
	is_string(owed.duty)
	not owed.duty in duties
}

default licences_in(_) := false

licences_in(names) if {
	is_list(names)
	count(licences) > 0
	count(licences - lowered(names)) == 0
	licences_known
}

default licences_not_in(_) := false

licences_not_in(names) if {
	is_list(names)
	count(licences) > 0
	count(licences & lowered(names)) == 0
	licences_known
}

# The licences of the accepted origins and of the datasets, in lower case.
licences contains lower(claim.detail.licence) if {
	some claim in licensed
	is_string(claim.detail.licence)
}

licences_known if count([claim | some claim in licensed; not has_licence(claim)]) == 0

has_licence(claim) if is_string(claim.detail.licence)

licensed := claims_of("origin") | claims_of("data")

# How it was built.

default slsa_at_least(_) := false

slsa_at_least(level) if {
	is_number(level)
	is_number(input.evidence.build.level)
	input.evidence.build.level >= level
}

default built_by(_, _) := false

built_by(stage, builders) if {
	is_list(builders)
	count(claims_of(stage)) > 0
	count([claim | some claim in claims_of(stage); not by_builder(claim, builders)]) == 0
}

by_builder(claim, builders) if claim.detail.builder in builders

default signed_by(_, _) := false

signed_by(stage, names) if {
	is_list(names)
	count(claims_of(stage)) > 0
	count([claim | some claim in claims_of(stage); not by_signer(claim, names)]) == 0
}

by_signer(claim, names) if claim.signer.name in names

default claimed(_) := false

claimed(stage) if {
	some claim in claims_of(stage)
	some identity in claim.about
	is_string(identity)
	identity in [input.evidence.manifest, input.evidence.weights]
}

# The claim graph.

default ancestry_ends_in(_) := false

ancestry_ends_in(ends) if {
	is_list(ends)
	input.evidence.ancestry.end in {"data", "origin"}
	input.evidence.ancestry.end in ends
}

default ancestry_depth_at_most(_) := false

ancestry_depth_at_most(steps) if {
	is_number(steps)
	ancestry_ends_in({"data", "origin"})
	is_number(input.evidence.ancestry.depth)
	input.evidence.ancestry.depth <= steps
}

default relations_only(_) := false

relations_only(relations) if {
	is_list(relations)
	ancestry_ends_in({"data", "origin"})
	is_array(input.evidence.ancestry.links)
	count([link | some link in input.evidence.ancestry.links; not of_relation(link, relations)]) == 0
}

of_relation(link, relations) if link[2] in relations

default datasets_signed := false

datasets_signed if {
	is_array(input.evidence.ancestry.links)
	sets := {link[0] | some link in input.evidence.ancestry.links; link[2] == "dataset"}
	told := {identity | some claim in claims_of("data"); some identity in claim.about}
	count(sets) > 0
	count(sets - told) == 0
}

default revision_pinned := false

revision_pinned if {
	count(claims_of("origin")) > 0
	count([claim | some claim in claims_of("origin"); not at_commit(claim)]) == 0
}

at_commit(claim) if {
	is_string(claim.detail.commit)
	regex.match(`^(?:[0-9a-f]{40}|[0-9a-f]{64})$`, claim.detail.commit)
}

default as_announced := false

as_announced if {
	count(claims_of("origin")) > 0
	count([claim | some claim in claims_of("origin"); not claim.detail.matches_announced == true]) == 0
}

default published_by(_) := false

published_by(publishers) if {
	is_list(publishers)
	count(claims_of("origin")) > 0
	count([claim | some claim in claims_of("origin"); not by_publisher(claim, publishers)]) == 0
}

by_publisher(claim, publishers) if claim.detail.publisher in publishers

# Taint.

default not_advised := false

not_advised if {
	is_array(input.evidence.advisories)
	count(input.evidence.advisories) == 0
}

default not_revoked := false

not_revoked if {
	is_array(input.evidence.revocations)
	count(input.evidence.revocations) == 0
}

default not_contradicted := false

not_contradicted if {
	is_array(input.evidence.contradictions)
	count(input.evidence.contradictions) == 0
}

default not_waived := false

not_waived if {
	is_array(input.evidence.waivers)
	count({waiver | some waiver in input.evidence.waivers; not over(waiver)}) == 0
}

over(waiver) if moment(waiver.expires) <= moment(input.evaluated_at)

# Evaluations and probes.

default evaluated := false

evaluated if {
	some claim in claims_of("evaluate")
	claim.detail.result == "PASSED"
	count(failed) == 0
}

failed := {claim | some claim in claims_of("evaluate"); not went_well(claim)}

went_well(claim) if claim.detail.result in {"PASSED", "WARNED"}

default metric_at_least(_, _) := false

metric_at_least(name, least) if {
	is_number(least)
	some claim in claims_of("evaluate")
	is_number(claim.detail.metrics[name])
	claim.detail.metrics[name] >= least
}

# A probe is a claim of the stage evaluate whose detail has `kind = "probe"`. Nothing here makes such claims yet: until
# something does, this is false of every model.
default probed := false

probed if {
	some claim in claims_of("evaluate")
	claim.detail.kind == "probe"
	claim.detail.result == "PASSED"
	count(failed) == 0
}

# The log, and the age of what is said.

assurances := {"single-operator": 0, "witnessed": 1, "public": 2}

default logged_at_least(_) := false

logged_at_least(assurance) if {
	wanted := assurances[assurance]
	count(claims) > 0
	count([claim | some claim in claims; not worth_at_least(claim, wanted)]) == 0
}

worth_at_least(claim, wanted) if assurances[claim.proof.assurance] >= wanted

default claims_within_days(_) := false

claims_within_days(days) if {
	is_number(days)
	count(claims) > 0
	count([claim | some claim in claims; not logged_within(claim, days)]) == 0
}

default claim_within_days(_, _) := false

claim_within_days(stage, days) if {
	is_number(days)
	count(claims_of(stage)) > 0
	count([claim | some claim in claims_of(stage); not logged_within(claim, days)]) == 0
}

logged_within(claim, days) if recent(claim.proof.logged_at, days)

# What the predicates share.

# The claims that the gate has verified; refused ones never count, and of claims that are no claims none does.
claims contains claim if {
	is_array(input.evidence.claims)
	count([claim | some claim in input.evidence.claims; not formed(claim)]) == 0
	some claim in input.evidence.claims
	claim.outcome == "pass"
	is_object(claim.proof)
}

formed(claim) if {
	is_string(claim.stage)
	is_string(claim.outcome)
	is_array(claim.about)
	is_object(claim.detail)
}

claims_of(stage) := {claim | some claim in claims; claim.stage == stage}

recent(text, days) if {
	is_number(days)
	taken := moment(text)
	asked := moment(input.evaluated_at)
	taken <= asked
	asked - taken <= days * 86400000000000
}

# The time of a text in nanoseconds; undefined for what is no time of these centuries, never an error.
moment(text) := time.parse_rfc3339_ns(text) if {
	is_string(text)
	regex.match(concat("", [`^(?:`, day_of_year, `|`, leap_day, `)T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z$`]), text)
}

day_of_year := `(?:19|20|21)[0-9]{2}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))`

leap_day := `(?:(?:19|20|21)(?:0[48]|[2468][048]|[13579][26])|2000)-02-29`

lowered(names) := {lower(name) | some name in names; is_string(name)}

is_list(names) if is_array(names)

is_list(names) if is_set(names)
