package gateway

import (
	"testing"
	"testing/synctest"

	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/gateway/turns"
)

// TestWhoHasMuchComesBehind has sessions with much to be told wait for one that
// has little, which comes later.
func TestWhoHasMuchComesBehind(t *testing.T) {
	var p pumpers
	p.working = mostWorking // nobody takes from the lines but the test
	g := newBareGateway(t, newTestStore(t))
	much := []*session{bareSession(g, protocol.JSON), bareSession(g, protocol.JSON)}
	little := bareSession(g, protocol.JSON)
	for _, s := range much {
		p.requeue(s)
	}
	if p.hasWaiting() {
		t.Error("those who have much make others stop")
	}
	p.start(little)
	if !p.hasWaiting() {
		t.Error("nobody is to stop for a session that waits")
	}
	for _, want := range []*session{little, much[0], much[1]} {
		if _, s := p.next(); s != want {
			t.Fatal("want who has little first, then the others in turn")
		}
	}
	// But they do get their turn, however many come.
	p.requeue(much[0])
	for n := range 2 * bulkEvery {
		p.start(bareSession(g, protocol.JSON))
		if _, s := p.next(); s == much[0] {
			return
		} else if n > bulkEvery {
			break
		}
	}
	t.Error("who has much waits for ever")
}

// TestCostlyRequestsTakeTurns has one user's sessions ask for much at once.
func TestCostlyRequestsTakeTurns(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, nil)
		e.gateway.turns = turns.New(2, 1) // as with two processors
		first, second := e.dial(codec), e.dial(codec)
		first.login("alice", "phone", nil)
		first.push("onSynced")
		second.login("alice", "tablet", nil)
		other := e.online("bob", codec)
		if !e.gateway.turns.Acquire(t.Context(), "alice") {
			t.Fatal("no place")
		}
		id := first.request("getMessage", obj{"conv": "u:bob"})
		synctest.Wait()
		if len(first.frames) > 0 {
			t.Error("a request was answered before it was its turn")
		}
		other.call("getMessage", obj{"conv": "u:alice"})
		second.call("ping", nil) // what is cheap waits for nothing
		e.gateway.turns.Release("alice")
		if frame := first.reply(id); frame["ok"] == nil {
			t.Errorf("getMessage = %v, want a page once it is its turn", frame)
		}
		// And one that gets no turn is refused in the end.
		if !e.gateway.turns.Acquire(t.Context(), "alice") {
			t.Fatal("no place")
		}
		defer e.gateway.turns.Release("alice")
		second.refused("getMessage", obj{"conv": "u:bob"}, "unavailable")
	})
}
