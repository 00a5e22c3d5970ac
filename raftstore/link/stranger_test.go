package link

import (
	"net"
	"strings"
	"testing"
	"time"
)

// TestCrowd fills a crowd from several addresses.
func TestCrowd(t *testing.T) {
	c := crowd{max: 4}
	enter := func(host, wantOut string) *guest {
		t.Helper()
		g := &guest{host: host}
		out := ""
		if g := c.enter(g); g != nil {
			out = g.host
		}
		if out != wantOut {
			t.Errorf("for one of %s one of %q goes, want %q", host, out, wantOut)
		}
		return g
	}
	x1 := enter("x", "")
	for range 3 {
		enter("x", "")
	}
	enter("x", "x")
	if c.leave(x1); c.size() != 4 { // it has gone already
		t.Errorf("%d places are taken, want 4", c.size())
	}
	a := enter("a", "x")
	enter("x", "x")
	b1, b2 := enter("b", "x"), enter("b", "x")
	enter("x", "x") // of two addresses with two, the older one
	enter("b", "b")
	if c.leave(b1); c.size() != 4 { // it has gone already
		t.Errorf("%d places are taken, want 4", c.size())
	}
	c.leave(b2)
	c.leave(a)
	if c.size() != 2 {
		t.Errorf("%d places are taken, want 2", c.size())
	}
	enter("a", "")
}

// TestCrowdIsSaidOnce has far more connections without a hello than may wait for one come
// from one address, and end by themselves: that does not fill the log.
func TestCrowdIsSaidOnce(t *testing.T) {
	for _, s := range security {
		t.Run(s.name, func(t *testing.T) {
			noLeak(t)
			const places, more = 4, 40
			ca, dir := newTestCA(t, "ca"), t.TempDir()
			a := newTestNode(t, "a", func(c *Config) {
				if s.tls {
					c.TLS = ca.issue(t, dir, "a", nil)
				}
			})
			a.handshakes.max = places
			a.start(t)
			var conns []net.Conn
			for range places + more {
				c, err := net.Dial("tcp", a.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				conns = append(conns, c)
			}
			eventually(t, "the first ones are thrown out", func() bool { return a.handshakes.size() == places })
			for _, c := range conns[:more] { // closed, one after the other
				if _, err := c.Read(make([]byte, 1)); err == nil {
					t.Fatal("something is said to whoever says nothing")
				}
				c.Close()
			}
			for _, c := range conns[more:] {
				c.(*net.TCPConn).SetLinger(0) // it ends with an error
				c.Close()
			}
			eventually(t, "none waits", func() bool { return a.handshakes.size() == 0 })
			if n := strings.Count(a.log.text(), "level=WARN"); n > 4 {
				t.Errorf("%d warnings, want one that connections had to go, and one for each way in which others ended", n)
			}
		})
	}
}

// TestStrangers has nodes that are not in the map hold as many connections as they may:
// others of them get in all the same, and peers lose none.
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
				n.strangerTime, n.strangers.max = time.Hour, 5
				n.Link.mu.Unlock()
				n.start(t)
				return n
			}
			a, peer := node("a", testCluster), node("peer", testCluster)
			dial := func(from *testNode) *conn {
				t.Helper()
				c, err := from.dial(t.Context(), target{address: a.Addr().String(), kind: kindRPC})
				if err != nil {
					t.Fatalf("%s: %v", from.name, err)
				}
				t.Cleanup(func() { c.Close() })
				return c
			}
			x := node("x", "")
			oldest := dial(x)
			for range 4 {
				dial(x)
			}
			connect(t, a, peer)
			last := dial(peer)
			for range 8 {
				dial(peer)
			}
			dial(node("joins", ""))
			isClosed := func(c *conn, within time.Duration) bool {
				c.SetReadDeadline(time.Now().Add(within))
				var err error
				for buf := make([]byte, 4096); err == nil; { // what gRPC says first
					_, err = c.Read(buf)
				}
				return !isTimeout(err)
			}
			if !isClosed(oldest, patience) {
				t.Error("the oldest connection of a stranger stays open")
			}
			if isClosed(last, time.Millisecond) {
				t.Error("a connection of a peer was closed")
			}
			if n := a.strangers.size(); n != 5 {
				t.Errorf("%d connections are counted, want 5", n)
			}
			eventually(t, "it is said", func() bool { return a.log.has("not in the map are open") })
		})
	}
}

// TestStrangersExpire closes connections of a node that is not in the map after a while.
func TestStrangersExpire(t *testing.T) {
	noLeak(t)
	a, x := newTestNode(t, "a", nil), newTestNode(t, "x", func(c *Config) { c.Cluster = "" })
	a.strangerTime = 20 * time.Millisecond
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
	eventually(t, "none is counted", func() bool { return a.strangers.size() == 0 })
}
