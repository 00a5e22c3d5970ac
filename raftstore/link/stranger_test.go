package link

import (
	"errors"
	"testing"
	"time"
)

// TestStrangers has nodes that are not in the map connect more often, and for longer, than
// they may. Peers get in all the while.
func TestStrangers(t *testing.T) {
	for _, s := range security {
		t.Run(s.name, func(t *testing.T) {
			noLeak(t)
			ca, dir := newTestCA(t, "ca"), t.TempDir()
			node := func(name, cluster string) *testNode {
				n := newTestNode(t, name, func(c *Config) {
					c.Cluster = cluster
					if s.tls {
						c.TLS = ca.issue(t, dir, name, nil)
					}
				})
				n.Link.mu.Lock()
				n.strangerLimits = strangerLimits{all: 5, each: 3, time: time.Hour}
				n.Link.mu.Unlock()
				n.start(t)
				return n
			}
			a, peer := node("a", testCluster), node("peer", testCluster)
			dial := func(from *testNode) (*conn, error) {
				return from.dial(t.Context(), target{address: a.Addr().String(), kind: kindRPC})
			}
			limited := func(err error) bool {
				r, ok := errors.AsType[*refusal](err)
				return ok && r.code == codeLimit
			}
			var open []*conn
			for name, may := range map[string]int{"x": 3, "y": 2} {
				from := node(name, "")
				for range may {
					c, err := dial(from)
					if err != nil {
						t.Fatal(err)
					}
					defer c.Close()
					open = append(open, c)
				}
				if name == "x" || len(open) == 5 {
					if _, err := dial(from); !limited(err) {
						t.Errorf("another connection of %s = %v, want that it is refused", name, err)
					}
				}
			}
			connect(t, a, peer)
			for range 8 {
				c, err := dial(peer)
				if err != nil {
					t.Fatalf("a peer: %v", err)
				}
				defer c.Close()
			}
			// One that leaves makes room for another.
			open[0].Close()
			z := node("z", "")
			eventually(t, "there is room again", func() bool {
				c, err := dial(z)
				if err == nil {
					t.Cleanup(func() { c.Close() })
				}
				return err == nil
			})
		})
	}
}

// TestStrangersExpire closes connections of a node that is not in the map after a while.
func TestStrangersExpire(t *testing.T) {
	noLeak(t)
	a, x := newTestNode(t, "a", nil), newTestNode(t, "x", func(c *Config) { c.Cluster = "" })
	a.strangerLimits.time = 20 * time.Millisecond
	for _, n := range []*testNode{a, x} {
		n.start(t)
	}
	var c *conn
	var err error
	eventually(t, "it connects", func() bool { // unless it is closed before it is welcome
		c, err = x.dial(t.Context(), target{address: a.Addr().String(), kind: kindRPC})
		return err == nil
	})
	defer c.Close()
	c.SetReadDeadline(time.Now().Add(patience))
	buf := make([]byte, 4096) // what gRPC says first
	for err == nil {
		_, err = c.Read(buf)
	}
	if isTimeout(err) {
		t.Error("the connection of a stranger stays open")
	}
	eventually(t, "none is counted", func() bool {
		a.Link.mu.RLock()
		defer a.Link.mu.RUnlock()
		return len(a.strangers) == 0
	})
}
