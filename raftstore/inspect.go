package raftstore

import (
	"context"
	"time"

	"github.com/belfry-im/belfry/raftstore/placement"
	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// View tells how the memory and the replicas of this node do. It looks at nothing that
// grows with the number of users.
func (s *Store) View() store.NodeView {
	v := store.NodeView{Memory: s.memoryView()}
	for _, sh := range s.shards() {
		if here := sh.here(); here != nil {
			v.Replicas = append(v.Replicas, here.view())
		}
	}
	return v
}

func (s *Store) memoryView() store.MemoryView {
	b := s.budget
	b.seeing.Lock()
	seen := b.seen
	b.seeing.Unlock()
	free, err := freeBytes(s.cfg.Dir)
	if err != nil {
		free = -1
	}
	return store.MemoryView{
		Limit: b.limit, Soft: b.percent(softPercent), Used: int64(seen.shards.Held) + seen.other, Reserved: b.reserved, Resident: seen.resident,
		Messages: int64(seen.shards.Messages), Users: int64(seen.shards.Views), Dedupe: int64(seen.shards.Dedupe),
		Letters: int64(seen.shards.Letters), Other: seen.other,
		Full: s.memoryFull.Load(), DiskLow: s.diskLow.Load(), DiskFree: free, DiskReserve: max(s.cfg.DiskReserve, 0),
	}
}

// view tells how a replica does.
func (sh *localShard) view() store.ReplicaView {
	stamp := sh.local.Stamp()
	v := store.ReplicaView{
		Shard: sh.id, Leads: sh.local.Leads(), Term: stamp.Term, Applied: stamp.Applied, Last: sh.local.LastIndex(),
	}
	if err := sh.local.Stopped(); err != nil {
		v.Problem = err.Error()
	}
	p50, p99 := sh.local.AppendTimes()
	v.AppendP50, v.AppendP99 = p50.Microseconds(), p99.Microseconds()
	sh.local.Inspect(func(st *shard.State, now int64) {
		v.Now, v.Bytes, v.Cutoff = now, int64(st.Size()), st.Cutoff()
		v.Retention = min(st.LongestTTL(), now-v.Cutoff)
		totals, latest := st.Losses()
		v.Losses = lossesOf(totals, latest)
	})
	if v.Leads && sh.store.cluster != nil {
		rr := ReplicaReport{}
		sh.report(&rr)
		for _, m := range rr.Members {
			if m.ID != sh.replicaID {
				v.Followers = append(v.Followers, store.FollowerView{ID: m.ID, Voter: m.Voter, Up: m.Up, Lag: m.Lag, Behind: m.Behind})
			}
		}
	}
	return v
}

var lossKinds = map[shard.LossKind]store.LossKind{
	shard.LostQueue: store.LostQueue, shard.LostHistory: store.LostHistory, shard.LostMemory: store.LostMemory,
}

func lossesOf(totals []shard.LossTotal, latest []shard.Loss) store.Losses {
	total := func(kind shard.LossKind) store.Loss {
		return store.Loss{Kind: lossKinds[kind], Messages: totals[kind].Messages, Bytes: totals[kind].Bytes}
	}
	l := store.Losses{
		Queue: total(shard.LostQueue), History: total(shard.LostHistory), Memory: total(shard.LostMemory),
		Latest: make([]store.Loss, len(latest)),
	}
	for i, of := range latest {
		l.Latest[i] = store.Loss{
			Kind: lossKinds[of.Kind], User: of.User, Group: of.Group, Messages: of.Messages, Bytes: of.Bytes, First: of.First, Last: of.Last,
		}
	}
	return l
}

// idSlack is how far the time in an id may be off the time of its message: clocks of nodes
// differ, and an order of times is kept by raising some.
const idSlack = 10 * time.Minute

// FindMessage looks for a message in the views and groups of slots from first on, as many as
// slots. next is the slot to go on with, command.Slots if all were searched. A message
// whose id has been made at another time than it was stored, as an import may have it, is
// not found. A single call costs a look at each conversation of those slots, and at what
// they hold of about that time.
func (s *Store) FindMessage(ctx context.Context, id command.MsgID, first, slots int) (places []query.MessagePlace, next int, err error) {
	ms := id.Time()
	next = min(first+slots, command.Slots)
	w := sweep[*query.FindMessage]{
		slots: traceSlots, gathered: traceGathered,
		ask: func(r query.SlotRange) *query.FindMessage {
			return &query.FindMessage{SlotRange: r, ID: id, From: ms - idSlack.Milliseconds(), To: ms + idSlack.Milliseconds()}
		},
		take: func(q *query.FindMessage) { places = append(places, q.Places...) },
	}
	if err := w.runOver(ctx, s, s.owners.Load().within(first, next)); err != nil {
		return nil, first, err
	}
	return places, next, nil
}

// within returns the ranges of slots from first to below end.
func (o *owners) within(first, end int) (ranges []placement.SlotRange) {
	for _, r := range o.ranges {
		r.First, r.Last = max(r.First, uint16(first)), min(r.Last, uint16(end-1))
		if first < end && r.First <= r.Last {
			ranges = append(ranges, r)
		}
	}
	return ranges
}
