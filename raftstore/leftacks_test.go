package raftstore

import (
	"fmt"
	"testing"

	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// TestLeftAcksAreBounded has one user leave again and again, each time with another
// group: what is kept of them is bounded, and what is kept of others stays.
func TestLeftAcksAreBounded(t *testing.T) {
	var l leftAcks
	l.add("bob", store.Acks{UpTo: 7}, 1)
	for range 3 * maxLeft {
		l.add("alice", store.Acks{UpTo: 1}, 2)
	}
	if !l.has("bob", "", &query.QueuedHeader{Time: 1, Arrival: 7}) {
		t.Error("what bob had acked is forgotten because alice came and went")
	}
	group := func(n int) command.GroupID { return command.GroupID(fmt.Sprint("g", n)) }
	const groups = 10 * maxLeft
	for n := range groups {
		l.add("alice", store.Acks{Groups: map[command.GroupID]store.Span{group(n): {From: 0, To: 9}}}, 2)
	}
	if n := len(l.young["alice"].Groups); n > maxLeft {
		t.Errorf("%d groups are kept of alice, want at most %d", n, maxLeft)
	}
	if !l.has("alice", group(groups-1), &query.QueuedHeader{Time: 1, Arrival: 9}) {
		t.Error("what alice acked last is forgotten")
	}
	if l.weight > 2*maxLeft+1 {
		t.Errorf("%d users and groups are kept, want at most %d", l.weight, 2*maxLeft+1)
	}
}
