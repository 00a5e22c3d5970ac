package link

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func TestOpenRefuses(t *testing.T) {
	good := Config{ID: "1", Name: "a", Listen: "127.0.0.1:0"}
	for _, test := range []struct {
		name   string
		change func(*Config)
		want   string // part of the error; "" = none
	}{
		{"nothing", func(*Config) {}, ""},
		{"no id", func(c *Config) { c.ID = "" }, "ID:"},
		{"no name", func(c *Config) { c.Name = "" }, "Name:"},
		{"long name", func(c *Config) { c.Name = strings.Repeat("a", maxWord+1) }, "Name:"},
		{"no port", func(c *Config) { c.Listen = "127.0.0.1" }, "Listen:"},
		{"all addresses without TLS", func(c *Config) { c.Listen = ":0" }, "loopback"},
		{"another address without TLS", func(c *Config) { c.Listen = "192.0.2.1:7946" }, "loopback"},
		{"another address, insecure", func(c *Config) { c.Listen, c.Insecure = "192.0.2.1:7946", true }, ""},
		{"IPv6 loopback", func(c *Config) { c.Listen = "[::1]:0" }, ""},
		{"short silence", func(c *Config) { c.Silence = keepAlive }, "Silence:"},
		{"negative time-out", func(c *Config) { c.RPC = -1 }, "RPC:"},
		{"negative message", func(c *Config) { c.MaxMessage = -1 }, "MaxMessage:"},
		{"no files", func(c *Config) { c.TLS = &TLSFiles{Cert: "/does/not/exist"} }, "certificate"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := good
			test.change(&c)
			l, err := Open(c)
			if err == nil {
				defer l.Close()
			}
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("Open: %v, want %q in it", err, test.want)
			}
		})
	}
}

func TestPeersTellStatus(t *testing.T) {
	for _, s := range security {
		t.Run(s.name, func(t *testing.T) {
			noLeak(t)
			nodes := testNodes(t, s.tls, "a", "b", "c")
			for i, n := range nodes {
				if err := n.SetStatus(fmt.Appendf(nil, "status of %d", i)); err != nil {
					t.Fatal(err)
				}
			}
			for _, n := range nodes {
				for i, o := range nodes {
					if n != o {
						eventually(t, "status", func() bool { return n.statusOf(o) == fmt.Sprint("status of ", i) })
					}
				}
			}
			large := strings.Repeat("x", MaxStatus)
			if err := nodes[0].SetStatus([]byte(large)); err != nil {
				t.Fatal(err)
			}
			eventually(t, "a large status", func() bool { return nodes[2].statusOf(nodes[0]) == large })
			if err := nodes[0].SetStatus(make([]byte, MaxStatus+1)); err == nil {
				t.Error("SetStatus took more than MaxStatus")
			}
			for i := range 2000 {
				nodes[1].SetStatus(fmt.Appendf(nil, "%d", i))
			}
			eventually(t, "the newest status", func() bool { return nodes[0].statusOf(nodes[1]) == "1999" })
			for _, n := range nodes {
				for _, o := range nodes {
					if got := n.statesOf(o); n != o && !slices.Equal(got, []PeerState{Connected}) {
						t.Errorf("%s was told %v of %s, want connected once", n.name, got, o.name)
					}
				}
			}
		})
	}
}

// TestOneControlConnection has both nodes dial at the same time, many times: what is
// left is one connection, and nobody is told of another state.
func TestOneControlConnection(t *testing.T) {
	noLeak(t)
	for range 20 {
		a, b := newTestNode(t, "a", nil), newTestNode(t, "b", nil)
		a.start(t)
		b.start(t)
		connect(t, a, b)
		count := func(n *testNode) int {
			n.Link.mu.RLock()
			defer n.Link.mu.RUnlock()
			return len(n.conns)
		}
		eventually(t, "one connection", func() bool { return count(a) == 1 && count(b) == 1 })
		for n, o := range map[*testNode]*testNode{a: b, b: a} {
			eventually(t, "the state is told", func() bool { return len(n.statesOf(o)) > 0 })
			if got := n.statesOf(o); !slices.Equal(got, []PeerState{Connected}) {
				t.Fatalf("%s was told %v of %s, want connected once", n.name, got, o.name)
			}
		}
		a.Close()
		b.Close()
	}
}

func TestGoneAndBack(t *testing.T) {
	noLeak(t)
	nodes := testNodes(t, true, "a", "b")
	a, b := nodes[0], nodes[1]
	address := b.Addr().String()
	b.SetStatus([]byte("one"))
	eventually(t, "status", func() bool { return a.statusOf(b) == "one" })
	b.Close()
	eventually(t, "b is gone", func() bool { return a.saw(b, Connected, Gone) })
	if got := a.State(b.id); got != Gone {
		t.Errorf("State = %v, want gone", got)
	}

	again := newTestNode(t, "b", func(c *Config) { c.Listen, c.TLS = address, b.config.TLS })
	again.SetStatus([]byte("two"))
	again.start(t)
	again.SetPeers([]Peer{a.peer()})
	eventually(t, "b is back", func() bool { return a.saw(b, Gone, Connected) && a.statusOf(b) == "two" })

	a.SetPeers([]Peer{again.peer(), {ID: "id-c", Name: "c", Address: "127.0.0.1:1"}})
	if a.State(b.id) != Connected {
		t.Error("setting the same peers disconnected one")
	}
	a.SetPeers(nil)
	eventually(t, "b is refused", func() bool { return again.log.has("is not in the map of this node") })
}

// TestLostWithoutEnd freezes what lies between two nodes: no connection ends.
func TestLostWithoutEnd(t *testing.T) {
	noLeak(t)
	a := newTestNode(t, "a", func(c *Config) { c.Silence = 400 * time.Millisecond })
	b := newTestNode(t, "b", func(c *Config) { c.Silence = 400 * time.Millisecond })
	a.start(t)
	b.start(t)
	toA, toB := newTestProxy(t, a.Addr().String()), newTestProxy(t, b.Addr().String())
	a.SetPeers([]Peer{{ID: b.id, Name: "b", Address: toB.addr()}})
	b.SetPeers([]Peer{{ID: a.id, Name: "a", Address: toA.addr()}})
	eventually(t, "connected", func() bool { return a.State(b.id) == Connected && b.State(a.id) == Connected })
	toA.freeze(true)
	toB.freeze(true)
	eventually(t, "both are lost", func() bool { return a.saw(b, Connected, Lost) && b.saw(a, Connected, Lost) })
	toA.freeze(false)
	toB.freeze(false)
	eventually(t, "both are back", func() bool { return a.saw(b, Lost, Connected) && b.saw(a, Lost, Connected) })
	b.Close()
	toB.ln.Close()
	eventually(t, "b is gone", func() bool { return a.State(b.id) == Gone })
}

func TestJoinsClusterLater(t *testing.T) {
	noLeak(t)
	a, b := newTestNode(t, "a", nil), newTestNode(t, "b", func(c *Config) { c.Cluster = "" })
	a.start(t)
	b.start(t)
	a.SetPeers([]Peer{b.peer()})
	b.SetPeers([]Peer{a.peer()})
	eventually(t, "a is refused", func() bool { return a.log.has("this node belongs to no cluster, the peer to cluster " + testCluster) })
	b.SetCluster(testCluster)
	eventually(t, "connected", func() bool { return a.State(b.id) == Connected && b.State(a.id) == Connected })
}

func TestMovesToAnotherAddress(t *testing.T) {
	noLeak(t)
	nodes := testNodes(t, false, "a", "b")
	a, b := nodes[0], nodes[1]
	b.Close()
	eventually(t, "b is gone", func() bool { return a.State(b.id) == Gone })
	moved := newTestNode(t, "b", nil)
	moved.start(t)
	moved.SetPeers([]Peer{a.peer()})
	a.SetPeers([]Peer{moved.peer()})
	eventually(t, "connected again", func() bool { return a.State(b.id) == Connected && moved.State(a.id) == Connected })
}

// TestSlowCallback has a callback of one peer that does not return: all else goes on.
func TestSlowCallback(t *testing.T) {
	noLeak(t)
	release := make(chan struct{})
	a := newTestNode(t, "a", func(c *Config) {
		c.OnStatus = func(NodeID, []byte) { <-release }
	})
	b := newTestNode(t, "b", nil)
	a.start(t)
	b.start(t)
	connect(t, a, b)
	for i := range 100 {
		b.SetStatus(fmt.Appendf(nil, "%d", i))
		a.SetStatus(fmt.Appendf(nil, "%d", i))
	}
	eventually(t, "b hears of a", func() bool { return b.statusOf(a) == "99" })
	ofA, ofB := b.beats(a), a.beats(b)
	eventually(t, "keep-alives go on", func() bool { return b.beats(a) >= ofA+10 && a.beats(b) >= ofB+10 })
	if a.State(b.id) != Connected || len(b.statesOf(a)) != 1 {
		t.Errorf("a slow callback broke the connection: a says %v, b was told %v", a.State(b.id), b.statesOf(a))
	}
	close(release)
}

func TestMetrics(t *testing.T) {
	noLeak(t)
	reg := prometheus.NewPedanticRegistry()
	a := newTestNode(t, "a", func(c *Config) { c.Metrics = reg })
	b := newTestNode(t, "b", nil)
	a.start(t)
	b.start(t)
	connect(t, a, b)
	value := func(name string) (float64, bool) {
		all, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range all {
			if f.GetName() == name {
				m := f.GetMetric()[0]
				return m.GetGauge().GetValue() + m.GetCounter().GetValue(), true
			}
		}
		return 0, false
	}
	eventually(t, "a round trip", func() bool { v, ok := value("belfry_link_round_trip_seconds"); return ok && v > 0 && v < 60 })
	if _, ok := value("belfry_link_clock_offset_seconds"); !ok {
		t.Error("no clock offset")
	}
	for name, want := range map[string]float64{"belfry_link_connections": 1, "belfry_link_peer_connected": 1} {
		if v, _ := value(name); v != want {
			t.Errorf("%s = %v, want %v", name, v, want)
		}
	}
	c, err := net.Dial("tcp", a.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.Write([]byte("GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n"))
	eventually(t, "a refusal", func() bool { v, _ := value("belfry_link_refusals_total"); return v == 1 })
	b.Close()
	eventually(t, "not connected", func() bool { v, _ := value("belfry_link_peer_connected"); return v == 0 })
	a.Close()
	if err := reg.Register(a.metrics); err != nil {
		t.Errorf("Close left the metrics registered: %v", err)
	}
}
