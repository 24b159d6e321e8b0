package weighbridge.own

import data.weighbridge.lib

default allow := false

allow if count(deny) == 0

deny contains {"rule": "r", "msg": "m"} if {
	some claim in lib.verifed
	claim.outcome != "pass"
}
