# Models that were running before there was a gate. The floor never lets one into the trusted tier, whatever is said here;
# in the modes observe and warn these rules say of each what stands against it, until it is taken in anew.
package weighbridge.legacy

import data.weighbridge.lib
import data.weighbridge.predicates
import data.weighbridge.require

default allow := false

allow if count(deny) == 0

deny contains row if some row in lib.denials

deny contains row if some row in require.denials("legacy")

deny contains {"rule": "class", "msg": "this is not a model that was taken in as already running"} if {
	not lib.evidence.origin == "legacy"
}

deny contains {"rule": "legacy.action", "msg": "what was taken in as already running may go on, and is never promoted"} if {
	not input.action == "admit"
}

deny contains {"rule": "legacy.until", "msg": sprintf("legacy.until is %v: take it in anew (weighbridge intake, or weighbridge pull --accept)", [lib.settings.legacy.until])} if {
	not lib.legacy_lasts
}

deny contains {"rule": "legacy.scan", "msg": "its scan found worse than names that nobody has listed, or did not read all of it"} if {
	not predicates.scan_verdict_at_most("unlisted")
}

deny contains {"rule": "legacy.taint", "msg": "it is revoked, or an advisory reaches it"} if {
	not lib.untainted
}

warn contains row if some row in lib.warnings

warn contains {"rule": "legacy.until", "msg": sprintf("it may go on until %s", [lib.settings.legacy.until])} if {
	lib.legacy_lasts
	lib.within(lib.settings.legacy.until, 30)
}
