package weighbridge.own

default allow := true

deny contains {"rule": "r", "msg": "m"} if not input.evidence.scan.complete
