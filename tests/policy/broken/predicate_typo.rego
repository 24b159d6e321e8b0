package weighbridge.own

import data.weighbridge.predicates

default allow := false

allow if count(deny) == 0

deny contains {"rule": "r", "msg": "m"} if {
	not predicates.scan_complet
}
