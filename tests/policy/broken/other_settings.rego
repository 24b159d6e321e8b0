package weighbridge.own

import data.weighbridge.lib

default allow := false

allow if count(deny) == 0

deny contains row if some row in lib.denials with data.settings as {}
