package gateway

import (
	"testing"
	"time"

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
			asks := r.asks()
			ok := bob.call("send", message(conv, cid, "second"))
			if r.asks() != asks+1 {
				t.Errorf("%s: %d questions about the second body, want 1", code, r.asks()-asks)
			}
			// By this one something was stored.
			bob.refused("send", message(conv, cid, "first"), "conflict")
			again := bob.call("send", message(conv, cid, "second"))
			if ok["seq"] != nil && (again["duplicate"] != true || text(t, again["id"]) != text(t, ok["id"])) {
				t.Errorf("%s: repeat = %v, want the answer %v", code, again, ok)
			}
			if r.asks() != asks+1 {
				t.Errorf("%s: %d questions about repeats", code, r.asks()-asks-1)
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

// A decision that one send failed by stays for another one that did not.
func TestDecisionOfWhatIsStoredOnce(t *testing.T) {
	ds := newDecisions(0)
	key := decisionKey{"alice", "u:bob", "1"}
	d, _ := ds.claim(key, 1, time.Unix(1, 0))
	ds.settle(d, ruling{kind: accepted})
	ds.send(d)
	ds.send(d)
	ds.sent(d, false)
	if again, mine := ds.claim(key, 1, time.Unix(1, 0)); mine || again != d {
		t.Fatal("the decision is forgotten while a send goes on by it")
	}
	ds.sent(d, true)
	if again, mine := ds.claim(key, 2, time.Unix(1, 0)); mine || again != d {
		t.Fatal("the decision of what is stored is forgotten")
	}

	key.cid = "2"
	d, _ = ds.claim(key, 1, time.Unix(1, 0))
	ds.settle(d, ruling{kind: accepted})
	ds.send(d)
	ds.sent(d, false)
	ds.send(d) // by who had it before it was forgotten
	ds.sent(d, true)
	if again, mine := ds.claim(key, 1, time.Unix(1, 0)); mine || again != d {
		t.Error("the decision of what is stored is forgotten after a send that failed")
	}
}
