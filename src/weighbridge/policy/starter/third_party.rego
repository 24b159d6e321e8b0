# Models of strangers. The floor has already asked for an origin that our intake accepted and that still stands.
package weighbridge.third_party

import data.weighbridge.lib
import data.weighbridge.require

default allow := false

allow if count(deny) == 0

deny contains row if some row in lib.denials

deny contains row if some row in require.denials("third_party")

deny contains {"rule": "class", "msg": "this is not a third-party model"} if {
	not lib.evidence.origin == "third-party"
}

deny contains {"rule": "origin", "msg": "there is no verified acceptance of its origin"} if {
	count(lib.of_stage("origin")) == 0
}

deny contains {"rule": "origin.publisher", "msg": sprintf("the publisher %v is not among third_party.publishers", [lib.told(claim, "publisher")])} if {
	count(lib.settings.third_party.publishers) > 0
	some claim in lib.of_stage("origin")
	not lib.by_known_publisher(claim)
}

deny contains {"rule": "origin.commit", "msg": "it did not come from a repository at a pinned commit"} if {
	lib.settings.third_party.commit_required
	some claim in lib.of_stage("origin")
	not lib.at_commit(claim)
}

deny contains {"rule": "origin.valid", "msg": sprintf("the acceptance of %v reaches further ahead than %d days", [lib.told(claim, "publisher"), lib.settings.third_party.max_valid_days])} if {
	some claim in lib.of_stage("origin")
	not lib.accepted_for_now(claim)
}

warn contains row if some row in lib.warnings
