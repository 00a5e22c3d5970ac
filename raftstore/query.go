package raftstore

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/belfry-im/belfry/raftstore/peer"
	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// errMoving answers reads of a slot that is frozen or gone.
var errMoving = store.Unavailable(movedMost, "the slot is on its way to another shard")

// readError replaces the refusal of a query whose slot has moved by errMoving, after
// which callers ask again later.
func readError(err error) error {
	if err == nil {
		return nil
	}
	if refused, ok := errors.AsType[*command.RefusedError](err); ok && refused.Code == command.CodeMoved {
		return errMoving
	}
	return err
}

// read answers queries from the memory of the shard's leader, under one lock.
func (sh *shardRef) read(queries ...query.Query) error {
	if from := sh.memory(); from != nil {
		if err := from.Read(queries...); !sh.waits(err) {
			return readError(err)
		}
	}
	return readError(sh.ask(peer.Read, queries))
}

// readApart is read with a lock for each query.
func (sh *shardRef) readApart(queries ...query.Query) error {
	if from := sh.memory(); from != nil {
		err := readEach(from, queries)
		if !sh.waits(err) {
			return readError(err)
		}
	}
	return readError(sh.ask(peer.ReadApart, queries))
}

func readEach(from Replica, queries []query.Query) error {
	for i := range queries {
		if err := from.Read(queries[i]); err != nil {
			return err
		}
	}
	return nil
}

// memory returns the replica on this node that answers reads, nil if another node does.
func (sh *shardRef) memory() Replica {
	here := sh.here()
	if sh.store.cluster == nil {
		return here.replica // it says why if it does not
	}
	if here == nil {
		return nil
	}
	if l := here.serving.Load(); l == nil || l.number < sh.leads.highest.Load() || l.doubts.Load() > 0 || sh.store.cluster.heart.stood() {
		return nil // there may be another leader, of which this node has not heard yet
	}
	return here.replica
}

// readCommitted is read after all that was proposed before. After a failure the caller
// must not use the queries.
func (sh *shardRef) readCommitted(ctx context.Context, queries ...query.Query) error {
	if sh.store.cluster == nil {
		return readError(sh.here().replica.ReadCommitted(ctx, queries...))
	}
	done := make(chan error, 1)
	sh.submit(&operation{kind: peer.Committed, shard: sh, queries: queries, done: func(a answer) { done <- a.err }})
	select {
	case err := <-done:
		if errors.Is(err, store.ErrUnknown) {
			err = store.Unavailable(store.RetryAfter(err), err.Error()) // it changed nothing
		}
		return readError(err)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ready returns nil if commands to the shard are likely to be taken, else the reason why
// not.
func (sh *shardRef) ready() error {
	s := sh.store
	if s.cluster == nil {
		return sh.here().replica.Ready()
	}
	switch node, _, _ := sh.leads.get(); {
	case node == "":
		return store.NotLeader(fmt.Sprintf("shard %d has no leader that is known", sh.id))
	case node != s.cluster.Node && !s.cluster.Link.Connected(node):
		return store.NotLeader(fmt.Sprintf("the leader of shard %d is not connected", sh.id))
	}
	return nil
}

// read answers a query from the memory of the shard that its slot belongs to.
func (s *Store) read(q query.Query) error {
	sh := s.shardOfSlot(uint16(q.Slot()))
	if from := sh.memory(); from != nil {
		if err := readOne(from, q); !sh.waits(err) {
			return err
		}
	}
	return readError(sh.ask(peer.Read, []query.Query{q}))
}

func readOne(from Replica, q query.Query) error {
	list := lists.Get().(*[1]query.Query)
	list[0] = q
	err := from.Read(list[:]...)
	list[0] = nil
	lists.Put(list)
	return readError(err)
}

// lists spare readOne the allocation of a slice for its one query.
var lists = sync.Pool{New: func() any { return new([1]query.Query) }}

// readCommitted answers queries, all of the same slot, under one lock and after all
// that was proposed before. After a failure the caller must not use them.
func (s *Store) readCommitted(ctx context.Context, queries ...query.Query) error {
	return s.shardOfSlot(uint16(queries[0].Slot())).readCommitted(ctx, queries...)
}

// A queryPool keeps queries of one kind for reuse, where they are asked often.
type queryPool[T any] struct{ pool sync.Pool }

func (p *queryPool[T]) get() *T {
	if q, ok := p.pool.Get().(*T); ok {
		return q
	}
	return new(T)
}

// put clears a query that nothing refers to any more, and keeps it for get.
func (p *queryPool[T]) put(q *T) {
	var zero T
	*q = zero
	p.pool.Put(q)
}

var (
	updatesQueries       queryPool[query.UpdatesAfter]
	groupUpdatesQueries  queryPool[query.GroupUpdatesAfter]
	groupMessagesQueries queryPool[query.GroupMessages]
	contactQueries       queryPool[query.Contact]
	speechQueries        queryPool[query.MaySpeak]
)

// contact reads what a user's shard knows of them and of their conversation with peer.
func (s *Store) contact(user, peer command.UserID) (query.Contact, error) {
	q := contactQueries.get()
	defer contactQueries.put(q)
	q.User, q.Peer = user, peer
	err := s.read(q)
	return *q, err
}
