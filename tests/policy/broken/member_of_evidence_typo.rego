package weighbridge.own

default allow := false

allow if count(deny) == 0

deny contains {"rule": "r", "msg": "m"} if {
	some claim in input.evidence.claimz
	claim.outcome != "pass"
}
