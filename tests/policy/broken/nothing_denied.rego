package weighbridge.own

default allow := false

allow if count(deny) == 0


