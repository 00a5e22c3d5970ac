package raftstore

import (
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/belfry-im/belfry/raftstore/versions"
	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/codec"
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
	want := sampleStatus()
	status := want.append(nil)
	told, err := decodeStatus(status)
	if err != nil || !reflect.DeepEqual(told, want) {
		t.Errorf("status arrives as %+v, %v, want %+v", told, err, want)
	}
	whole := map[int]bool{1: true} // lengths at which no part is cut
	for n := 1; n < len(status); {
		n += 2 + int(status[n+1])
		whole[n] = true
	}
	for n := range status {
		if _, err := decodeStatus(status[:n]); (err == nil) != whole[n] {
			t.Errorf("%d of %d bytes: %v", n, len(status), err)
		}
	}
}

func sampleStatus() nodeStatus {
	return nodeStatus{
		declines: true, pressure: pressure{300, 1000}, numbers: map[uint32]uint64{5: 9, 7: 1 << 40},
		checksums: shardChecksums{5: {{Index: 300, Slot: 16383, Sum: 1 << 63}, {Index: 301}}, 6: {{Index: 7, Sum: 1}}},
	}
}

// What is told of checksums is read by others meanwhile. The race detector watches.
func TestStatusIsOnlyRead(*testing.T) {
	status := sampleStatus()
	var telling sync.WaitGroup
	for range 2 {
		telling.Go(func() { status.append(nil) })
	}
	telling.Wait()
}

// The status of the next version has more in its parts, and more parts. One with a part
// that cannot be done without is refused.
func TestStatusOfNextVersion(t *testing.T) {
	want := sampleStatus()
	w := codec.NewWriter([]byte{statusVersion})
	add := func(part uint8, more string) {
		codec.Byte(&w, &part)
		codec.Item(&w, func(x *codec.Coder) {
			want.part(part, x)
			x.B = append(x.B, more...)
		})
	}
	add(versions.Optional, "what an older node does not need")
	for part := uint8(1); part < endOfParts; part++ {
		add(part, "more")
	}
	add(255, "")
	if told, err := decodeStatus(w.B); err != nil || !reflect.DeepEqual(told, want) {
		t.Errorf("status arrives as %+v, %v, want %+v", told, err, want)
	}
	add(endOfParts, "")
	if _, err := decodeStatus(w.B); err == nil || !strings.Contains(err.Error(), "part of a status of kind 5 is not known: this binary is older") {
		t.Errorf("with a part that is not optional: %v", err)
	}
	if _, err := decodeStatus([]byte{statusVersion + 1}); err == nil || !strings.Contains(err.Error(), "status of version 2: its writer is newer") {
		t.Errorf("version 2: %v", err)
	}

	other := sampleStatus().checksums
	x := codec.NewWriter(nil)
	other.fields(&x)
	x.B[1]++ // the version of the state
	r := codec.NewReader(append(x.B[:2], "in another form"...))
	if other.fields(&r); r.Err != nil || len(other) != 0 {
		t.Errorf("checksums of another version of the state: %v, %v", other, r.Err)
	}
}

// What can be read is written as the same.
func FuzzStatus(f *testing.F) {
	sample := sampleStatus()
	f.Add(sample.append(nil))
	f.Fuzz(func(t *testing.T, status []byte) {
		told, err := decodeStatus(status)
		if err != nil {
			return
		}
		again, err := decodeStatus(told.append(nil))
		empty := nodeStatus{numbers: map[uint32]uint64{}, checksums: shardChecksums{}}
		if told.numbers == nil {
			told.numbers = empty.numbers
		}
		if told.checksums == nil {
			told.checksums = empty.checksums
		}
		if err != nil || !reflect.DeepEqual(again, told) {
			t.Errorf("%+v becomes %+v, %v", told, again, err)
		}
	})
}
