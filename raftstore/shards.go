package raftstore

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync/atomic"

	"github.com/belfry-im/belfry/raftstore/replica"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// A Replica takes a shard's commands and answers what is read of it. A
// *replica.Replica is one.
type Replica interface {
	// Enqueue proposes a command, or a read if command is nil, in the leadership of
	// term; 0: in whichever there is. After an error, which is a store.ErrUnavailable,
	// w is not called.
	Enqueue(term uint64, command []byte, w replica.Waiter) error
	// Read answers queries under one lock, from memory. It stops at the first that is
	// refused, and returns that refusal.
	Read(queries ...query.Query) error
	// ReadCommitted is Read after all that was enqueued before. After a failure the
	// queries may still be written to.
	ReadCommitted(ctx context.Context, queries ...query.Query) error
	// Ready returns nil if Enqueue and Read are likely to succeed, else the reason why
	// not.
	Ready() error
}

// A localShard is one shard as the store sees it: its replica, and what belongs to
// it beside the state.
type localShard struct {
	id          uint32
	first, last uint16 // slots, inclusive
	store       *Store
	log         *slog.Logger
	metrics     *shardMetrics

	replica Replica
	local   *replica.Replica // the same one, for what concerns this node alone

	outbox  atomic.Int64 // bytes of letters of this node that wait for the shard
	orphans orphans
	leader  atomic.Pointer[leader] // set from leader.Begin to leader.Close; see leading
}

func newLocalShard(s *Store, id uint32) *localShard {
	cfg := &s.cfg
	first, last := slotRange(int(id), cfg.Shards)
	sh := &localShard{
		id: id, first: first, last: last, store: s,
		log: cfg.Log.With("shard", id), metrics: s.metrics.shard(id),
	}
	sh.local = replica.New(replica.Config{
		Shard: id, First: first, Last: last,
		Dir: filepath.Join(cfg.Dir, fmt.Sprintf("shard-%04d", id)), ID: cfg.Node, RaftLog: cfg.RaftLog,
		Limits: cfg.Limits, Epoch: s.epoch, HookBytes: cfg.hookBytes(),
		QueueBytes: cfg.QueueBytes, SnapshotBytes: cfg.SnapshotBytes, SegmentBytes: cfg.SegmentBytes,
		ExpireEvery: cfg.ExpireEvery, Clock: cfg.Clock, ClockSettle: cfg.ClockSettle,
		Lead:  func(enqueue enqueueFunc) replica.Leader { return newLeader(sh, enqueue) },
		Moved: s.moved, Notify: s.hub.notify,
		Log: sh.log, Metrics: s.metrics.replicas, WALFS: cfg.walFS,
	})
	sh.replica = sh.local
	return sh
}

// leading returns the leader of this node's present leadership, nil while this node
// does not lead the shard.
func (sh *localShard) leading() *leader {
	if !sh.local.Leads() {
		return nil
	}
	return sh.leader.Load()
}

// owns reports whether a user's slot belongs to the shard.
func (sh *localShard) owns(user command.UserID) bool {
	slot := command.SlotOf(string(user))
	return sh.first <= slot && slot <= sh.last
}

// walk calls read for all slots of the shard, with at most some slots in each call,
// until read fails or ctx ends.
func (sh *localShard) walk(ctx context.Context, some int, read func(query.SlotRange) error) error {
	for first := int(sh.first); first <= int(sh.last); first += some {
		if err := ctx.Err(); err != nil {
			return err
		}
		last := min(first+some-1, int(sh.last))
		if err := read(query.SlotRange{First: uint16(first), Last: uint16(last)}); err != nil {
			return err
		}
	}
	return nil
}

// slotRange returns the slots of shard i out of n, inclusive.
func slotRange(i, n int) (first, last uint16) {
	return uint16((i*command.Slots + n - 1) / n), uint16(((i+1)*command.Slots+n-1)/n - 1)
}

// shardIndex returns the shard out of n that serves a slot.
func shardIndex(slot uint16, n int) int { return int(slot) * n / command.Slots }

// shardOf returns the shard that serves a user, or the key of a group.
func (s *Store) shardOf(user command.UserID) *localShard {
	return s.shardOfSlot(command.SlotOf(string(user)))
}

func (s *Store) shardOfSlot(slot uint16) *localShard {
	return s.shards[shardIndex(slot, len(s.shards))]
}
