package weighbridge.own

import data.weighbridge.lib as other
import data.weighbridge.libary as library

default allow := false

allow if count(deny) == 0

deny contains {"rule": "r", "msg": "m"} if {
	some row in library.denials
	row.rule
}
