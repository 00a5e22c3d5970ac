package raftstore

import (
	"errors"
	"fmt"
	"time"

	"github.com/belfry-im/belfry/raftstore/peer"
	"github.com/belfry-im/belfry/raftstore/store"
)

// A call is something that the leader of a shard does beside its state: it reads what
// that leader alone has in memory, or has it tell somebody something.
type call struct {
	kind peer.Kind
	here func(l *leader) error // does it at this node
	body func() []byte         // asks another one
	read func(answer []byte) error
	once bool // if the answer is lost it must not be asked again
}

// call has the leader of a shard execute c. It waits for a leader while there is none, as
// reads do. Without a cluster, one that does not lead says why.
func (sh *shardRef) call(c call) error {
	deadline := time.NewTimer(readPatience)
	defer deadline.Stop()
	var body []byte
	for {
		if l := sh.leaderHere(); l != nil {
			if err := c.here(l); !sh.waits(err) {
				return err
			}
		} else if sh.store.cluster == nil {
			return errors.Join(sh.here().replica.Ready(), errNotHere)
		}
		node, number, changed := sh.leads.get()
		answers := make(chan peer.Answer, 1)
		asked := false
		if stream := sh.store.streamTo(node); stream != nil {
			if body == nil {
				body = c.body()
			}
			r := peer.Request{Kind: c.kind, Shard: sh.id, Term: number, Body: body}
			asked = stream.Send(r, func(a peer.Answer) { answers <- a }) == nil
			if asked {
				sh.metrics.sent.Inc()
			}
		}
		var pause <-chan time.Time
		switch {
		case !asked:
			pause = time.After(readPause)
		case c.once:
			changed = nil // it may have been done
		}
		select {
		case a := <-answers:
			if c.once && a.Err == nil {
				return c.take(a.Body) // even if that leader was deposed meanwhile: it was done
			}
			err, again := sh.callAnswer(number, &a, c)
			if !again {
				return err
			}
			if errors.Is(err, peer.ErrBroken) {
				if c.once {
					return fmt.Errorf("%w: %w", store.ErrUnknown, err)
				}
				time.Sleep(readPause)
			}
		case <-pause:
		case <-changed:
		case <-deadline.C:
			err := store.NotLeader(fmt.Sprintf("the leader of shard %d does not answer", sh.id))
			if asked && c.once {
				err = errors.Join(store.ErrUnknown, err)
			}
			return err
		}
	}
}

// leaderHere returns the leader on this node that may answer, nil if it is elsewhere, or
// if it does not know yet that there is another one.
func (sh *shardRef) leaderHere() *leader {
	if sh.store.cluster == nil {
		return sh.leading()
	}
	here := sh.here()
	if here == nil {
		return nil
	}
	if l := here.serving.Load(); l != nil && l.number >= sh.leads.highest.Load() {
		return l
	}
	return nil
}

// callAnswer reads the answer of another node. again reports whether the next leader has
// to be asked instead.
func (sh *shardRef) callAnswer(number uint64, a *peer.Answer, c call) (err error, again bool) {
	body := a.Body
	a.Body = peer.AppendAnswers(nil, nil)
	if err, again := sh.readAnswer(number, a, nil); err != nil || again {
		return err, again
	}
	return c.take(body), false
}

// take takes over the answer of a leader that has done it.
func (c *call) take(body []byte) error {
	if err := c.read(body); err != nil {
		return store.Unavailable(store.DefaultRetryAfter, err.Error())
	}
	return nil
}

// answerCall executes what another node calls for.
func (l *leader) answerCall(r *peer.Request, done func(peer.Answer)) {
	out := peer.Answer{Term: l.number, Applied: l.shard.local.Stamp().Applied}
	var err error
	switch r.Kind {
	case peer.Status:
		out.Body, err = l.answerStatus(r.Body)
	case peer.Tell:
		err = l.answerTell(r.Body)
	case peer.Transient:
		out.Body, err = l.answerTransient(r.Body)
	case peer.Live:
		out.Body, err = l.answerLive(r.Body)
	case peer.Attention:
		out.Body, err = l.answerAttention(r.Body)
	case peer.Away:
		err = l.answerAway(r.Body)
	case peer.Reserve:
		out.Body, err = l.answerReserve(r.Body)
	case peer.Unreserve:
		err = l.answerUnreserve(r.Body)
	}
	if out.Err = err; err != nil {
		out.Body = nil
	}
	done(out)
}
