package weighbridge.own

default alow := false

alow if count(deny) == 0

deny contains {"rule": "r", "msg": "m"} if not input.evidence.scan.complete
