package link

import (
	"context"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// TestReplacedControl has a node that has lost all connections, of which its peer still
// has its ends: when the node dials anew, calls must not go where nobody reads, and the
// peer must let it in, also the one that is to dial itself.
func TestReplacedControl(t *testing.T) {
	for _, loses := range []string{"a", "b"} { // of two, the one with the lower ID dials
		t.Run(loses+" has lost its connections", func(t *testing.T) { testReplacedControl(t, loses) })
	}
}

func testReplacedControl(t *testing.T, loses string) {
	noLeak(t)
	nodes := map[string]*testNode{}
	for _, name := range []string{"a", "b"} {
		n := newTestNode(t, name, func(c *Config) { c.Silence = time.Hour })
		n.Server().RegisterService(&echoDesc, echo{})
		n.start(t)
		nodes[name] = n
	}
	a, b := nodes["a"], nodes["b"]
	loser, other := a, b
	if loses == "b" {
		loser, other = b, a
	}
	toA, toB := newTestProxy(t, a.Addr().String()), newTestProxy(t, b.Addr().String())
	a.SetPeers([]Peer{{ID: b.id, Name: b.name, Address: toB.addr()}})
	b.SetPeers([]Peer{{ID: a.id, Name: a.name, Address: toA.addr()}})
	call := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		_, err := say(ctx, other.Conn(loser.id), "hi")
		return err
	}
	eventually(t, "a call works", func() bool { return call() == nil })
	before, _ := other.Link.peer(loser.id).current()

	toA.freeze(true)
	toB.freeze(true)
	b.SetPeers([]Peer{{ID: a.id, Name: a.name, Address: a.Addr().String()}})
	a.SetPeers([]Peer{{ID: b.id, Name: b.name, Address: b.Addr().String()}})
	loser.closeConns(func(*conn) bool { return true })
	eventually(t, "there is a new control connection", func() bool {
		now, _ := other.Link.peer(loser.id).current()
		return now != nil && now != before
	})
	// A call of the moment in which the connections are replaced fails at once, and is made
	// again by its caller. On a dead one it would wait.
	eventually(t, "a call works again", func() bool {
		err := call()
		if err != nil && status.Code(err) != codes.Unavailable {
			t.Fatalf("a call after the peer has dialed anew: %v", err)
		}
		return err == nil
	})
}
