package weighbridge.own

default allow := false

allow if count(deny) == 0

deny contains {"rule": "r", "msg": "m"} if {
	not input.evidence.origin == "own"
	data.settings.scan.max_age > 3
}
