package gateway

import (
	"testing"

	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/shard/command"
)

// A message that was accepted and then not stored leaves no trace: its cid is
// free for another body.
func TestDecisionOfWhatIsNotStored(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e, r := hooked(t, false, nil)
		c := enter(e, codec, "alice", "bob")
		alice, bob := c["alice"], c["bob"]
		e.group("team", command.GroupPrivate, "alice")
		refuseThen := func(conv, cid, code string, mend func()) {
			t.Helper()
			bob.refused("send", message(conv, cid, "first"), code)
			mend()
			asks := r.Asks()
			ok := bob.call("send", message(conv, cid, "second"))
			if r.Asks() != asks+1 {
				t.Errorf("%s: %d questions about the second body, want 1", code, r.Asks()-asks)
			}
			// By this one something was stored.
			bob.refused("send", message(conv, cid, "first"), "conflict")
			again := bob.call("send", message(conv, cid, "second"))
			if ok["seq"] != nil && (again["duplicate"] != true || text(t, again["id"]) != text(t, ok["id"])) {
				t.Errorf("%s: repeat = %v, want the answer %v", code, again, ok)
			}
			if r.Asks() != asks+1 {
				t.Errorf("%s: %d questions about repeats", code, r.Asks()-asks-1)
			}
		}
		refuseThen("g:team", "1", "forbidden", func() { alice.call("addMembers", obj{"group": "team", "users": []any{"bob"}}) })
		e.store.setDown(true)
		refuseThen("g:team", "2", "unavailable", func() { e.store.setDown(false) })
		alice.call("createGroup", obj{"group": "show", "kind": "live"})
		refuseThen("g:show", "3", "forbidden", func() { bob.call("joinGroup", obj{"group": "show"}) })
		alice.call("block", obj{"user": "bob"})
		refuseThen("u:alice", "4", "forbidden", func() { alice.call("unblock", obj{"user": "bob"}) })
	})
}
