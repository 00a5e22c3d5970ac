package raftstore

import (
	"errors"
	"time"

	"github.com/belfry-im/belfry/raftstore/peer"
	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// operationBytes is what an operation counts for in a line, in addition to its body.
const operationBytes = 256

// An operation is something that only the leader of a shard can do, and that keeps its
// place among others of this node while that leader is looked for.
type operation struct {
	kind    peer.Kind                         // Command, Login or Committed
	key     command.UserID                    // it decides the shard of a Command or Login
	shard   *shardRef                         // of a Committed
	letter  bool                              // its courier handles that its slot has moved
	encoded []byte                            // Command, Login: the command
	recents query.RecentsMode                 // Login
	asked   time.Time                         // Login: when its client did
	counted bool                              // Login: some leader has counted it, or may have
	gone    func() bool                       // Login: reports whether nobody waits for it any more; nil if that is not known
	queries []query.Query                     // Committed
	begin   func(command.UserID, *query.Sync) // Login, at its leader: called in the apply step
	done    func(answer)                      // called exactly once; it must not block

	// Of its line.
	size   int
	giveUp time.Time // when it is answered although no leader was found; zero until it waits for one
	try    int       // rises each time it is sent; answers to earlier tries are ignored
	doubt  bool      // a leader had it: it may have been executed
	over   bool      // it has left the line

	// Of Store.deferred.
	pause      time.Duration // before it is routed again; 0 = it never was
	due        time.Time     // of the next attempt
	giveUpMove time.Time
	answer     *answer // nil: route it again
}

// An answer is what became of an operation.
type answer struct {
	result command.Result
	sync   *query.Sync // Login
	err    error
}

// age returns how long ago the client of a login asked for it.
func (op *operation) age() time.Duration { return max(0, time.Since(op.asked)) }

// withdrawn reports whether the operation is a login that nobody waits for any more and
// that no leader has seen. One that may have been executed is sent again nevertheless: most
// often that finds its session, which is then logged out.
func (op *operation) withdrawn() bool { return op.gone != nil && !op.doubt && op.gone() }

// errWithdrawn answers an operation that is withdrawn.
var errWithdrawn = store.Unavailable(store.DefaultRetryAfter, "whoever has asked is gone")

// request returns the operation as it is sent to another node.
func (op *operation) request(shard uint32, term uint64) peer.Request {
	r := peer.Request{Kind: op.kind, Shard: shard, Term: term, Body: op.encoded}
	switch op.kind {
	case peer.Login:
		r.Body = peer.LoginBody{Recents: op.recents, Age: op.age(), Counted: op.counted, Command: op.encoded}.Append(nil)
	case peer.Committed:
		r.Body = peer.AppendQueries(nil, op.queries)
	}
	return r
}

// read returns the answer of another node.
func (op *operation) read(a *peer.Answer) (out answer) {
	if refused, ok := errors.AsType[*command.RefusedError](a.Err); ok && op.kind == peer.Login {
		out.result = command.Result{Code: refused.Code, Detail: refused.Detail, RetryAfterMS: refused.RetryAfterMS}
		return out
	}
	if out.err = a.Err; out.err != nil {
		return out
	}
	switch op.kind {
	case peer.Command:
		out.result, out.err = peer.DecodeResult(a.Body)
	case peer.Login:
		out.sync, out.err = peer.DecodeSync(a.Body)
	case peer.Committed:
		out.err = peer.DecodeAnswers(a.Body, op.queries)
	}
	return out
}
