//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/belfry-im/belfry/client"
	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/loadtest/nodes"
)

// A device is one of a user's, and what came to it.
type device struct {
	*client.Client
	mu       sync.Mutex
	logins   int
	address  string // of the node that it is connected to, or was last
	seqs     []uint64
	texts    []int
	presence []string
	reset    bool // a login found its cursor absent, or messages lost
}

// dial connects a device to some of the nodes, and returns once it is logged in.
func dial(t *testing.T, b *bench, user string, at ...*nodes.Node) *device {
	t.Helper()
	d := &device{}
	transport := &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err == nil {
			d.mu.Lock()
			d.address = address
			d.mu.Unlock()
		}
		return conn, err
	}}
	c := client.Config{
		URL: at[0].URL(), Device: "phone", ManualRead: true, HTTPClient: &http.Client{Transport: transport},
		Recents: protocol.RecentsOff, MinBackoff: 10 * time.Millisecond, MaxBackoff: time.Second,
		PingInterval: servedWithin, PingTimeout: servedWithin, // a frozen node is not left
		Token: func(context.Context, client.TokenReason) (string, error) {
			d.mu.Lock()
			d.logins++
			d.mu.Unlock()
			return b.cluster.Token(user)
		},
		OnMessages: func(messages []client.Message) {
			d.mu.Lock()
			defer d.mu.Unlock()
			for i := range messages {
				p, err := postOf(&messages[i])
				if err != nil {
					t.Error(err)
				}
				d.seqs, d.texts = append(d.seqs, messages[i].Seq), append(d.texts, p.n)
			}
		},
		OnSynced: func(s client.Synced) {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.reset = d.reset || s.Reset || len(s.Lost) > 0
		},
		OnPresence: func(p client.Presence) {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.presence = append(d.presence, p.User+" is "+p.Status)
		},
	}
	for _, n := range at[1:] {
		c.MoreURLs = append(c.MoreURLs, n.URL())
	}
	var err error
	if d.Client, err = client.Dial(t.Context(), c); err != nil {
		t.Fatalf("%s: %v", user, err)
	}
	t.Cleanup(func() {
		d.Close()
		<-d.Done()
		transport.CloseIdleConnections()
	})
	return d
}

func (d *device) state() (logins int, address string, presence []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.logins, d.address, slices.Clone(d.presence)
}

func (d *device) send(t *testing.T, to string, n int) {
	t.Helper()
	if _, err := d.Send(t.Context(), "u:"+to, map[string]any{"n": n}, client.SendOptions{}); err != nil {
		t.Fatalf("send %d to %s: %v", n, to, err)
	}
}

// awaitTexts waits until all of 1 to n have come, and fails unless they came once and in
// order, from seq first on.
func (d *device) awaitTexts(t *testing.T, n int, first uint64) {
	t.Helper()
	await(t, fmt.Sprintf("%d messages", n), func() string {
		d.mu.Lock()
		defer d.mu.Unlock()
		if len(d.texts) >= n {
			return ""
		}
		return fmt.Sprint("there are ", len(d.texts))
	})
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range d.texts {
		if d.texts[i] != i+1 || d.seqs[i] != first+uint64(i) || i >= n {
			t.Fatalf("messages %v came as seqs %v, want 1 to %d from seq %d on", d.texts, d.seqs, n, first)
		}
	}
	if d.reset {
		t.Error("a login found its cursor absent, or messages lost")
	}
}

func await(t *testing.T, what string, unmet func() string) {
	t.Helper()
	if err := poll(t.Context(), testPatience, func() (string, error) { return unmet(), nil }); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// sessionsBench is a cluster of one shard, its leader and the other two nodes.
func sessionsBench(t *testing.T, name string, flags ...string) (b *bench, leader, second, third *nodes.Node) {
	t.Helper()
	c := testConfig(t)
	c.Shards = 1
	b, err := newBench(c, name, nodeCount, false, false, flags...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			b.logs(t)
		}
		if err := b.close(); err != nil {
			t.Error(err)
		}
		if b.failed() {
			t.Errorf("violations: %q", b.violations)
		}
	})
	if err := b.cluster.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := b.whole(t.Context()); err != nil {
		t.Fatal(err)
	}
	if leader, err = b.leader(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	all := b.cluster.Nodes()
	return b, leader, all[(leader.Number+1)%len(all)], all[(leader.Number+2)%len(all)]
}

// watch has a user see another one's presence, who has to write to them for that; that
// message is seq 1 of theirs.
func (d *device) watch(t *testing.T, user string, of *device, other string) {
	t.Helper()
	of.send(t, user, 0)
	list, err := d.WatchPresence(t.Context(), other)
	if err != nil || len(list) != 1 || !list[0].Online {
		t.Fatalf("WatchPresence = %v, %v; want that %s is online", list, err, other)
	}
}

// TestSessionsOutliveTheirLeader kills the leader of users whose sockets are at other
// nodes.
func TestSessionsOutliveTheirLeader(t *testing.T) {
	b, leader, second, third := sessionsBench(t, "outlive")
	alice, bob, carol := dial(t, b, "alice", second), dial(t, b, "bob", third), dial(t, b, "carol", second)
	carol.watch(t, "carol", bob, "bob")
	const before, after = 20, 40
	for n := 1; n <= before; n++ {
		alice.send(t, "bob", n)
	}
	leader.Kill()
	for n := before + 1; n <= before+after; n++ {
		alice.send(t, "bob", n) // the first waits for the next leader
	}
	bob.awaitTexts(t, before+after, 1)
	for name, d := range map[string]*device{"alice": alice, "bob": bob, "carol": carol} {
		if logins, _, _ := d.state(); logins != 1 {
			t.Errorf("%s has logged in %d times, want once: the socket was at a node that lives", name, logins)
		}
	}
	// Longer than an unclaimed session would be left alone.
	time.Sleep(claimWithin + time.Second)
	list, err := carol.Presence(t.Context(), "bob")
	if err != nil || len(list) != 1 || !list[0].Online {
		t.Errorf("Presence = %v, %v; want that bob is online", list, err)
	}
	if _, _, told := carol.state(); len(told) > 0 {
		t.Errorf("carol was told %q, and bob was online all the time", told)
	}
	alice.send(t, "bob", before+after+1)
	bob.awaitTexts(t, before+after+1, 1)
}

// claimWithin is how long a server with the tag faults waits for the node of a session.
const claimWithin = 5 * time.Second

// TestSessionsOfAFrozenNode freezes the node of a user for longer than its sessions are
// waited for.
func TestSessionsOfAFrozenNode(t *testing.T) {
	var mu sync.Mutex
	queued := map[string]bool{} // cids of what message.queued told for bob
	offline := 0                // user.offline of bob
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var event struct {
			Type string
			Data struct {
				User    string
				Message struct{ CID string }
			}
		}
		if err := json.NewDecoder(r.Body).Decode(&event); err != nil || event.Data.User != "bob" {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		switch event.Type {
		case "message.queued":
			queued[event.Data.Message.CID] = true
		case "user.offline":
			offline++
		}
	}))
	t.Cleanup(receiver.Close)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b, leader, second, third := sessionsBench(t, "frozen", "--webhook-url", receiver.URL, "--webhook-secret-file", secret,
		"--webhook-events=message.queued,user.offline")
	alice, bob, carol := dial(t, b, "alice", leader), dial(t, b, "bob", third), dial(t, b, "carol", second)
	carol.watch(t, "carol", bob, "bob")
	const before, during, after = 5, 5, 5
	for n := 1; n <= before; n++ {
		alice.send(t, "bob", n)
	}
	bob.awaitTexts(t, before, 1)
	frozen := time.Now()
	if err := third.Pause(); err != nil {
		t.Fatal(err)
	}
	told := func(want string) func() string {
		return func() string {
			if _, _, all := carol.state(); len(all) == 0 || all[len(all)-1] != want {
				return fmt.Sprintf("carol was told %q", all)
			}
			return ""
		}
	}
	await(t, "carol is told that bob is offline", told("bob is offline"))
	if took := time.Since(frozen); took < claimWithin/2 {
		t.Errorf("bob is offline after %v, want %v of patience with his node", took, claimWithin)
	}
	var cids []string
	for n := before + 1; n <= before+during; n++ {
		r, err := alice.Send(t.Context(), "u:bob", map[string]any{"n": n}, client.SendOptions{})
		if err != nil {
			t.Fatal(err)
		}
		cids = append(cids, r.CID)
	}
	await(t, "message.queued for bob", func() string {
		mu.Lock()
		defer mu.Unlock()
		for _, cid := range cids {
			if !queued[cid] {
				return fmt.Sprintf("%d were told, want all %d that were sent meanwhile", len(queued), during)
			}
		}
		if offline == 0 {
			return "user.offline was not told"
		}
		return ""
	})
	if err := third.Continue(); err != nil {
		t.Fatal(err)
	}
	await(t, "carol is told that bob is back", told("bob is online"))
	for n := before + during + 1; n <= before+during+after; n++ {
		alice.send(t, "bob", n)
	}
	bob.awaitTexts(t, before+during+after, 1)
	// A server that was frozen for very long may rightly have found the socket dead.
	if logins, _, _ := bob.state(); logins != 1 && time.Since(frozen) < 20*time.Second {
		t.Errorf("bob has logged in %d times, want once: his socket has stayed (%v)", logins, bob.Err())
	}
}

// TestSessionsMoveWithARollingRestart restarts the node that a user is connected to, again
// and again.
func TestSessionsMoveWithARollingRestart(t *testing.T) {
	b, leader, second, third := sessionsBench(t, "rolling-sessions")
	alice, bob := dial(t, b, "alice", leader, second, third), dial(t, b, "bob", third, leader, second)
	n := 0
	for round := range nodeCount {
		_, at, _ := bob.state()
		var node *nodes.Node
		for _, one := range b.cluster.Nodes() {
			if one.URL() == "ws://"+at {
				node = one
			}
		}
		if node == nil {
			t.Fatalf("bob is at %s, which is no node", at)
		}
		var stopping sync.WaitGroup
		var err error
		stopping.Go(func() { err = node.Stop() })
		ended := make(chan struct{})
		go func() { stopping.Wait(); close(ended) }()
		for stopped := false; !stopped; {
			select {
			case <-ended:
				stopped = true
			default:
			}
			n++
			alice.send(t, "bob", n)
		}
		if err != nil {
			t.Fatal(err)
		}
		bob.awaitTexts(t, n, 1)
		if logins, now, _ := bob.state(); logins < round+2 || now == at {
			t.Errorf("after %s was stopped bob is at %s, and has logged in %d times; want another node", at, now, logins)
		}
		if err := b.up(t.Context(), node); err != nil {
			t.Fatal(err)
		}
		if err := b.healthy(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	n++
	alice.send(t, "bob", n)
	bob.awaitTexts(t, n, 1)
}
