package weighbridge.own

default allow := false

allow if count(deny) == 0

deny := {"rule": "r", "msg": "m"} if not input.evidence.scan.complete
