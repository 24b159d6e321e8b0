# What policy.toml switches on in [require.own], [require.third_party] and [require.legacy], without any Rego.
package weighbridge.require

import data.weighbridge.predicates

# Each switch, and what is the matter with a model that does not meet it. A switch that is set to 0, false, "" or {} is off;
# one that is missing is on and met by nothing.
switches := {
	"assurance": "the log proof of a claim is worth less than is asked for",
	"as_announced": "it is not what its publisher announced",
	"bom": "its bill of materials is missing, or lacks too much of a profile",
	"datasets_signed": "a dataset that it was trained on has no verified claim, or none is named",
	"dependencies_hashed": "its bill of materials names no software, or some without a hash",
	"evaluated": "no verified evaluation of it passed, or one failed",
	"max_claim_days": "a claim about it is too old",
	"max_depth": "its ancestry is deeper than is allowed, or broken",
	"no_waivers": "something about it was waived",
	"probed": "no verified probe of it passed",
	"revision_pinned": "it did not come from a repository at a pinned commit",
	"ruleset": "it was scanned by older rules than are asked for",
	"scan_verdict": "the verdict of its scan is worse than is allowed",
	"slsa_level": "no build level as high as is asked for is shown",
}

denials(class) := {row |
	some name, words in switches
	not answered(name, class)
	row := {"rule": sprintf("require.%s", [name]), "msg": sprintf("%s (require.%s.%s)", [words, class, name])}
}

answered(name, class) if data.settings.require[class][name] in {0, false, ""}

answered(name, class) if data.settings.require[class][name] == {}

answered(name, class) if met(name, data.settings.require[class][name])

met("assurance", least) if predicates.logged_at_least(least)

met("as_announced", true) if predicates.as_announced

met("bom", profiles) if {
	is_object(profiles)
	count([profile | some profile, percent in profiles; not predicates.bom_complete(profile, percent)]) == 0
}

met("datasets_signed", true) if predicates.datasets_signed

met("dependencies_hashed", true) if predicates.dependencies_hashed

met("evaluated", true) if predicates.evaluated

met("max_claim_days", days) if predicates.claims_within_days(days)

met("max_depth", steps) if predicates.ancestry_depth_at_most(steps)

met("no_waivers", true) if predicates.not_waived

met("probed", true) if predicates.probed

met("revision_pinned", true) if predicates.revision_pinned

met("ruleset", number) if predicates.ruleset_at_least(number)

met("scan_verdict", worst) if predicates.scan_verdict_at_most(worst)

met("slsa_level", level) if predicates.slsa_at_least(level)
