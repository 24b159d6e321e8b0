package weighbridge.own

default allow := false

allow if count(deny) == 0

deny contains {"rule": "r", "msg": "m"} if {
	some c in {x | some x in input.evidence.claims}
	c.stagee == "train"
}
