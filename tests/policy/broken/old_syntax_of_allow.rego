package weighbridge.own

default allow = false

allow {
	count(deny) == 0
}

deny contains {"rule": "r", "msg": "m"} if not input.evidence.scan.complete
