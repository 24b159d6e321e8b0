package weighbridge.own

default allow := false

allow := "yes" if count(deny) == 0

deny contains {"rule": "r", "msg": "m"} if not input.evidence.scan.complete
