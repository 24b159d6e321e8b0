package weighbridge.own

default allow := false

allow if {
	count(deny) == 0
} else if {
	input.evidence.origin == "own"
}

deny contains {"rule": "r", "msg": "m"} if not input.evidence.scan.complete
