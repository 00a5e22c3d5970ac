package raftstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/belfry-im/belfry/raftstore/peer"
	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

const (
	// readPatience is how long a read waits for a leader, or for its answer.
	readPatience = 3 * time.Second
	// readPause is the pause before a leader is asked again that could not be reached.
	readPause = 20 * time.Millisecond
)

// ask has the leader of a shard on another node answer queries from its memory: all under
// one lock (peer.Read), or each under its own (peer.ReadApart). It waits for a leader
// while there is none, and asks the next one if what it asked ends.
func (sh *shardRef) ask(kind peer.Kind, queries []query.Query) error {
	return sh.askWithin(readPatience, kind, queries)
}

// askWithin is ask, and gives up after a time.
func (sh *shardRef) askWithin(patience time.Duration, kind peer.Kind, queries []query.Query) error {
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	var body []byte
	for {
		node, term, changed := sh.leads.get()
		if from := sh.memory(); from != nil {
			if err := from.Read(queries...); !sh.waits(err) {
				return err
			}
		}
		if node == sh.store.cluster.Node {
			// Its memory is in doubt, or the lead has just come here.
			return sh.askHere(patience, queries)
		}
		answers := make(chan peer.Answer, 1)
		asked := false
		if stream := sh.store.streamTo(node); stream != nil {
			if body == nil {
				body = peer.AppendQueries(nil, queries)
			}
			r := peer.Request{Kind: kind, Shard: sh.id, Term: term, Body: body}
			asked = stream.Send(r, func(a peer.Answer) { answers <- a }) == nil
			if asked {
				sh.metrics.sent.Inc()
			}
		}
		var pause <-chan time.Time
		if !asked {
			pause = time.After(readPause)
		}
		select {
		case a := <-answers:
			err, again := sh.readAnswer(term, &a, queries)
			if !again {
				return err
			}
			if errors.Is(err, peer.ErrBroken) {
				time.Sleep(readPause)
			}
		case <-pause:
		case <-changed:
		case <-deadline.C:
			return store.NotLeader(fmt.Sprintf("the leader of shard %d does not answer", sh.id))
		}
	}
}

// askHere answers queries after all that was proposed before. Unlike readCommitted it
// leaves them alone once it has returned: callers may use them again.
func (sh *shardRef) askHere(patience time.Duration, queries []query.Query) error {
	asked, err := peer.DecodeQueries(peer.AppendQueries(nil, queries))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(sh.store.cluster.ctx, patience)
	defer cancel()
	if err := sh.readCommitted(ctx, asked...); ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return store.NotLeader(fmt.Sprintf("the leadership of shard %d is not confirmed", sh.id))
	} else if err != nil {
		return err
	}
	return peer.DecodeAnswers(peer.AppendAnswers(nil, asked), queries)
}

// readAnswer fills in the answers of queries. again reports whether the next leader has
// to be asked instead.
func (sh *shardRef) readAnswer(term uint64, a *peer.Answer, queries []query.Query) (err error, again bool) {
	_, refused := errors.AsType[*command.RefusedError](a.Err)
	switch {
	case errors.Is(a.Err, store.ErrNotLeader):
		sh.leads.refused(term)
		return a.Err, true
	case errors.Is(a.Err, peer.ErrBroken):
		return a.Err, true
	case (a.Err == nil || refused) && a.Term < sh.leads.highest.Load():
		return nil, true // it is from before what this node has seen
	case errors.Is(a.Err, peer.ErrFailed):
		return store.Unavailable(store.DefaultRetryAfter, a.Err.Error()), false
	case a.Err != nil:
		return a.Err, false
	}
	if err := peer.DecodeAnswers(a.Body, queries); err != nil {
		return store.Unavailable(store.DefaultRetryAfter, err.Error()), false
	}
	return nil, false
}
