# Models we make ourselves. The floor has already asked for every claim and for an ancestry without gaps.
package weighbridge.own

import data.weighbridge.lib
import data.weighbridge.require

default allow := false

allow if count(deny) == 0

deny contains row if some row in lib.denials

deny contains row if some row in require.denials("own")

deny contains {"rule": "class", "msg": "this is not one of our own models"} if {
	not lib.evidence.origin == "own"
}

deny contains {"rule": "evaluation", "msg": "there is no verified evaluation that passed"} if {
	lib.settings.own.evaluation_required
	not "PASSED" in {claim.detail.result | some claim in lib.of_stage("evaluate")}
}

deny contains {"rule": "evaluation", "msg": "a verified evaluation of it failed, or does not say how it went"} if {
	some claim in lib.of_stage("evaluate")
	not lib.went_well(claim)
}

deny contains {"rule": "evaluation.minimum", "msg": sprintf("no verified evaluation reaches %s of %v", [name, least])} if {
	some name, least in lib.settings.own.minimum
	reached := {value | some claim in lib.of_stage("evaluate"); value := claim.detail.metrics[name]; is_number(value); value >= least}
	count(reached) == 0
}

deny contains {"rule": "builder", "msg": sprintf("the %s claim was made by the builder %v, which is not among own.builders", [claim.stage, lib.told(claim, "builder")])} if {
	count(lib.settings.own.builders) > 0
	some claim in lib.of_stage("train") | lib.of_stage("package")
	not lib.by_known_builder(claim)
}

deny contains {"rule": "contradiction", "msg": row.message} if {
	not lib.settings.own.contradictions_allowed
	some row in lib.contradictions
	row.kind in {"other-base", "not-from-scratch"}
}

deny contains {"rule": "contradiction", "msg": "nobody held its tensors against what is said of its origin"} if {
	not lib.contradictions_known
}

warn contains row if some row in lib.warnings
