package weighbridge.own

default allow := false

allow if count(deny) == 0

deny contains {"rule": "r", "msg": "m"} if {
	input.evidence.scan.scanned_at < "2026-1-1"
}
