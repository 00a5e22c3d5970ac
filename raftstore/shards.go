package raftstore

import (
	"context"
	"log/slog"
	"slices"
	"sync/atomic"

	"github.com/belfry-im/belfry/raftstore/placement"
	"github.com/belfry-im/belfry/raftstore/replica"
	"github.com/belfry-im/belfry/shard"
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

// A shardRef is one shard as each node sees it, whether or not it has a replica of it.
type shardRef struct {
	id      uint32
	store   *Store
	log     *slog.Logger
	metrics *shardMetrics

	leads leads
	line  *line // unused without a cluster

	outbox     atomic.Int64               // bytes of letters of this node that wait for the shard
	replicated atomic.Pointer[localShard] // the replica here, nil if there is none
}

func newShardRef(s *Store, id uint32) *shardRef {
	sh := &shardRef{id: id, store: s, log: s.cfg.Log.With("shard", id), metrics: s.metrics.shard(id)}
	sh.line = newLine(s.cfg.QueueBytes, sh.find, s.deferred.retry)
	sh.line.patience = s.cfg.leaderPatience
	sh.line.later = s.deferred.answerWith
	sh.line.resent = sh.metrics.resent
	return sh
}

// here returns the replica of the shard on this node, nil if there is none.
func (sh *shardRef) here() *localShard { return sh.replicated.Load() }

// leading returns the leader of this node's present leadership, nil while this node
// does not lead the shard.
func (sh *shardRef) leading() *leader {
	if here := sh.here(); here != nil {
		return here.leading()
	}
	return nil
}

// A localShard is a replica on this node, and what belongs to it beside the state.
type localShard struct {
	*shardRef
	replicaID   string
	replication Replication // zero without a cluster
	// stop ends the replica, and ended is closed once it has; nil without a cluster.
	stop  func()
	ended chan struct{}

	// Owned by led.
	ledTerm, ledTimes uint64

	diverged string // what compareChecksums has found last; owned by it
	// undecided: it differs from others by its checksums, and there is no majority.
	undecided atomic.Bool

	replica Replica
	local   *replica.Replica // the same one, for what concerns this node alone

	orphans orphans
	told    toldHooks
	leader  atomic.Pointer[leader] // set from leader.Begin to leader.Close; see leading
	serving atomic.Pointer[leader] // in a cluster: set from when the replica takes commands to leader.Close
}

// newLocalShard returns the replica r of a shard, with what the map says of that shard.
func newLocalShard(ref *shardRef, of *placement.Shard, r *placement.Replica) *localShard {
	s, id := ref.store, ref.id
	sh := &localShard{shardRef: ref, replicaID: r.ID}
	if s.cluster != nil {
		sh.replication = s.cluster.Link.Replicate(id, r.ID, s.locate(id))
	}
	sh.local = replica.New(sh.config(of))
	sh.replica = sh.local
	return sh
}

// config returns how the replica is to run.
func (sh *localShard) config(of *placement.Shard) replica.Config {
	s, id := sh.store, sh.id
	cfg := &s.cfg
	c := replica.Config{
		Shard: id, Slots: s.owners.Load().slots(id),
		Dir: s.replicaDir(id, sh.replicaID), ID: sh.replicaID, RaftLog: cfg.RaftLog, NodeLog: s.data.log,
		Configuration: func() command.Configure { return s.owners.Load().conf },
		QueueBytes:    cfg.QueueBytes, SnapshotBytes: cfg.SnapshotBytes, SegmentBytes: cfg.SegmentBytes,
		ExpireEvery: cfg.ExpireEvery, ChecksumEvery: cfg.ChecksumEvery, Clock: cfg.Clock, ClockSettle: cfg.ClockSettle,
		Lead:  func(enqueue enqueueFunc) replica.Leader { return newLeader(sh, enqueue) },
		Moved: s.moved, Lost: sh.lost, OnLeader: sh.led, Notify: sh.notify,
		Log: sh.log, Metrics: s.metrics.replicas, WALFS: cfg.walFS,
	}
	if s.cluster != nil {
		c.Transport, c.Made = sh.replication.Transport, true
		c.ElectionTimeout = cfg.ElectionTimeout
		c.Desired = func() []replica.Member { return s.members(id) }
		c.OnSlowDisk = s.slowDisk
		if slices.Contains(of.Founders, sh.replicaID) {
			for _, id := range of.Founders {
				c.Bootstrap = append(c.Bootstrap, replica.Member{ID: id})
			}
		}
	}
	return c
}

// notify is replica.Config.Notify. Where this node does not lead, the leader tells those
// who listen here.
func (sh *localShard) notify(out *shard.Outcome) {
	if sh.store.cluster == nil || sh.leader.Load() != nil { // even while it hands over
		sh.store.hub.notify(out)
	}
}

// leading returns the leader of this node's present leadership, nil while this node
// does not lead the shard.
func (sh *localShard) leading() *leader {
	if !sh.local.Leads() {
		return nil
	}
	return sh.leader.Load()
}

// present returns the leader of this node's present leadership, or why there is none.
func (sh *localShard) present() (*leader, error) {
	if l := sh.leading(); l != nil {
		return l, nil
	}
	if err := sh.replica.Ready(); err != nil {
		return nil, err
	}
	return nil, errNotHere // it begins just now
}

// owns reports whether a user's slot belongs to the shard.
func (sh *shardRef) owns(user command.UserID) bool { return sh.store.shardOf(user) == sh }
