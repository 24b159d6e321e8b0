package weighbridge.own

default allow := false

allow if count(deny) == 0

deny contains {"rule": "r", "msg": "m"} if {
	verdict = input.evidence.scan.verdict
	verdict = "dangerous"
}
