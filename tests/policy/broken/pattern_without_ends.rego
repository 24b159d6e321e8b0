package weighbridge.own

default allow := false

allow if count(deny) == 0

deny contains {"rule": "r", "msg": "m"} if {
	not regex.match("[0-9a-f]{64}", input.evidence.manifest)
}
