package weighbridge.own

default allow := false

allow if count(deny) == 0

deny contains {"rule": "r", "msg": "m"} if {
	not claim.outcome == "pass"
}
