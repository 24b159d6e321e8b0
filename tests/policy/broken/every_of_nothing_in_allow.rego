package weighbridge.own

default allow := false

allow if {
	count(deny) == 0
	every claim in input.evidence.claims {
		claim.outcome == "pass"
	}
}

deny contains {"rule": "r", "msg": "m"} if input.evidence.origin != "own"
