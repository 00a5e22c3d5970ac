package raftstore

import (
	"testing"
	"time"

	"github.com/belfry-im/belfry/shard/command"
)

// What a session has waited to be claimed adds up over leaderships of a node, as long as
// none between them was long, and every leadership gives it a moment.
func TestOrphansWaitOverLeaderships(t *testing.T) {
	const within = 10 * time.Second
	key := sessionKey{"alice", 1}
	live := map[sessionKey]bool{key: true}
	start := time.Unix(1, 0)
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	var o orphans
	due := func(ms int) bool { return len(o.due(at(ms), within)) > 0 }
	o.reset(live, nil, at(0), within)
	o.clear(at(6000))
	o.clear(at(6500)) // a leadership that ended before it began
	o.reset(live, nil, at(9000), within)
	if due(12_900) || !due(13_000) {
		t.Error("want it due 4 s after a leadership began, since it had waited 6 s in an earlier one")
	}

	o.reset(live, nil, at(20_000), within)
	o.clear(at(29_900))
	o.reset(live, nil, at(30_000), within)
	if due(30_900) || !due(31_000) {
		t.Error("want it due 1 s after a leadership began, though it had waited 9.9 s")
	}

	o.reset(live, nil, at(40_000), within)
	o.clear(at(49_000))
	o.reset(live, nil, at(60_000), within)
	if due(69_900) || !due(70_000) {
		t.Error("want it due after 10 s, since another node has led for 11 s")
	}

	o.reset(live, nil, at(80_000), within)
	o.remove(key)
	o.clear(at(89_000))
	o.reset(live, nil, at(90_000), within)
	if due(99_900) || !due(100_000) {
		t.Error("want it due after 10 s, since it was claimed before")
	}
}

// A session that nobody claims comes to its end, though no leadership lasts as long as it
// may stay unclaimed.
func TestClusterOrphansOutliveLeaderships(t *testing.T) {
	const within = time.Second
	c := newTestCluster(t, 3, 1, func(_ int, cfg *Config) { cfg.ClaimWithin = within })
	s := c.store(0)
	alice := userIn(s, 0, 0)
	r, err := proposeAgain(t, s, &command.Login{User: alice, Device: "phone"}) // nobody watches it
	if err != nil || r.Err() != nil {
		t.Fatal(err, r.Err())
	}
	deadline := time.Now().Add(time.Minute)
	for to := 0; ; to = 1 - to {
		c.move(0, to)
		infos, err := s.Sessions(t.Context(), alice)
		if err == nil && len(infos) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: the session is logged out: %v, %v", infos, err)
		}
		time.Sleep(within * 2 / 5) // how long this leadership lasts
	}
}
