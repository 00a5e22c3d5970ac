package shard

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/belfry-im/belfry/shard/command"
)

// What is kept of messages that left a log before their time is bounded, and ends
// with the time for which history would have kept them.
func TestRemovedDedupIsBounded(t *testing.T) {
	b := newBench(t, command.Limits{})
	b.login("alice", "phone", "")
	send := func(n int) command.Result {
		cid := fmt.Sprint("cid", n)
		return b.do(&command.Send{User: "alice", Session: 1, To: "bob", ID: command.MsgID{byte(n)}, CID: cid, Body: []byte(cid), TTL: 1, Retry: true})
	}
	const n = maxRemovedDedup + 100
	for i := range n {
		if r := send(i); r.Code != command.OK || r.Duplicate {
			t.Fatalf("send: %+v", r)
		}
	}
	b.now += 6 * 60 * 1000 // beyond the dedupe window
	b.expire()
	u := b.s.lookup("alice")
	if u.removedDedup.count != maxRemovedDedup || u.dedup.count != 0 || u.bytes != 0 {
		t.Fatalf("%d records of the past, %d of the window, %d bytes in logs; want %d, 0, 0", u.removedDedup.count, u.dedup.count, u.bytes, maxRemovedDedup)
	}
	if held := b.s.Usage().Dedupe; held < maxRemovedDedup*dedupRecordUnits*dedupUnit {
		t.Errorf("usage says %d bytes", held)
	}
	restored, err := Restore(bytes.NewReader(snapshot(b.s)), 1)
	if err != nil {
		t.Fatal(err)
	}
	b.s = restored
	for i := range maxRemovedDedup {
		if r := send(100 + i); r.Code != command.OK || !r.Duplicate || r.Seq != uint64(101+i) {
			t.Fatalf("retry of message %d: %+v", 100+i, r)
		}
	}
	if r := send(99); r.Code != command.OK || r.Duplicate {
		t.Errorf("retry of a forgotten message: %+v", r)
	}

	week := (7 * 24 * time.Hour).Milliseconds()
	for range 2 {
		b.now += week
		b.expire()
	}
	if u := b.s.lookup("alice"); u.removedDedup.head != 0 {
		t.Errorf("%d records are left in the end", u.removedDedup.count)
	}
}

// The memory cutoff takes what is kept of the past, too.
func TestCutoffTakesRemovedDedup(t *testing.T) {
	b := newBench(t, command.Limits{})
	b.login("alice", "phone", "")
	cmd := &command.Send{User: "alice", Session: 1, To: "bob", CID: "c", Body: []byte("x"), TTL: 1, Retry: true}
	b.do(cmd)
	b.now += 6 * 60 * 1000
	b.expire()
	b.do(&command.RaiseCutoff{Cutoff: b.now - 1000, MaxWork: 1000})
	if r := b.do(cmd); r.Code != command.OK || r.Duplicate {
		t.Errorf("after the cutoff has passed the message: %+v", r)
	}
	b.now += 6 * 60 * 1000
	b.expire()
	u := b.s.lookup("alice")
	if u.removedDedup.count != 2 {
		t.Fatalf("%d records, want 2", u.removedDedup.count)
	}
	b.do(&command.RaiseCutoff{Cutoff: b.now, MaxWork: 1000}) // which is below the present
	if b.now++; u.removedDedup.count != 1 {
		t.Fatalf("%d records, want that of the message that left now", u.removedDedup.count)
	}
	b.do(&command.RaiseCutoff{Cutoff: b.now, MaxWork: 1000})
	if u.removedDedup.count != 0 {
		t.Errorf("%d records are left below the cutoff", u.removedDedup.count)
	}
}
