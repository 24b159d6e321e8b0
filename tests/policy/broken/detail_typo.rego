package weighbridge.own

default allow := false

allow if count(deny) == 0

deny contains {"rule": "r", "msg": "m"} if {
	some claim in input.evidence.claims
	claim.stage == "evaluate"
	claim.detail.resullt == "FAILED"
}
