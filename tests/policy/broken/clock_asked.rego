package weighbridge.own

default allow := false

allow if count(deny) == 0

deny contains {"rule": "r", "msg": "m"} if {
	time.now_ns() > time.parse_rfc3339_ns(input.evidence.authority.expires)
}
