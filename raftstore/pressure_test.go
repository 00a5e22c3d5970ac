package raftstore

import (
	"reflect"
	"testing"

	"github.com/belfry-im/belfry/shard"
)

// A node whose memory is short, and that leads nothing, has the leader evict. What the
// others have is not judged by that node's memory.
func TestFollowersMemoryIsHeard(t *testing.T) {
	const limit = 64 << 20
	var meters [3]fakeMeter
	clock := &testClock{}
	c := newTestCluster(t, 3, 1, func(node int, cfg *Config) {
		cfg.MemoryLimit, cfg.meter, cfg.Clock = limit, meters[node].read, clock.read
	})
	follower := c.others(0)[0]
	s := c.store(follower)
	alice, bob := userIn(s, 0, 0), userIn(s, 0, 1)
	const n = 400
	for i := range n {
		cmd := message(alice, bob, i)
		cmd.Body = make([]byte, 4000)
		cmd.Body[0] = 0xc0
		send(t, s, cmd)
		clock.pass(1e9)
	}
	cutoff := func() (at int64) {
		c.store(c.leader(0)).shards()[0].here().local.Inspect(func(st *shard.State, _ int64) { at = st.Cutoff() })
		return at
	}
	if at := cutoff(); at != 0 {
		t.Fatalf("cutoff %d while memory suffices", at)
	}
	meters[follower].beside.Store(limit / 100 * (softPercent - 2))
	eventually(t, "the leader evicts for its follower", func() bool { return cutoff() > 0 })
	eventually(t, "the follower's memory suffices", func() bool { return held(s) <= limit/100*3 })
	got := len(cids(t, s, alice, bob))
	if got == 0 || got == n {
		t.Errorf("%d of %d messages are left, want some", got, n)
	}
	meters[follower].beside.Store(0)
	before := cutoff()
	clock.pass(1e9)
	send(t, s, message(alice, bob, n))
	if at := cutoff(); at != before {
		t.Errorf("cutoff rises from %d to %d although memory suffices again", before, at)
	}
}

func TestStatusThereAndBack(t *testing.T) {
	status := (&pressure{report: 300, cut: 1000}).append([]byte{statusVersion, 1})
	status = append(status, 1, 5, 9)
	sums := shardChecksums{5: {{Index: 300, Slot: 16383, Sum: 1 << 63}, {Index: 301}}, 6: {{Index: 7, Sum: 1}}}
	status = sums.append(status)
	told, err := decodeStatus(status)
	if err != nil || told.pressure != (pressure{300, 1000}) || len(told.numbers) != 1 || told.numbers[5] != 9 || !told.declines || !reflect.DeepEqual(told.checksums, sums) {
		t.Errorf("status arrives as %+v, %v", told, err)
	}
	for n := range status {
		if _, err := decodeStatus(status[:n]); err == nil {
			t.Errorf("%d of %d bytes are taken for a status", n, len(status))
		}
	}
	status[0]++
	if _, err := decodeStatus(status); err == nil {
		t.Error("a status of another version is read")
	}
}
