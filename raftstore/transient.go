package raftstore

import (
	"hash/maphash"
	"sync"
	"time"

	"github.com/belfry-im/belfry/shard/command"
)

// maxTransient bounds the transient messages whose repeats are recognised. Past it
// the older half is forgotten.
const maxTransient = 1 << 16

// A transientDedup recognises repeats of transient messages, which go to connected
// sessions and are stored nowhere. It lives in memory alone: after a restart, or at
// another leader, a repeat is passed on again.
type transientDedup struct {
	window int64 // ms for which a repeat is recognised
	seed   maphash.Seed

	mu         sync.Mutex
	young, old map[uint64]transientMessage
	turned     int64 // ms, when young last became old
}

// A transientMessage is what a repeat is answered with.
type transientMessage struct {
	id   command.MsgID
	time int64  // ms
	body uint64 // hash
}

func newTransientDedup(window time.Duration) *transientDedup {
	return &transientDedup{window: window.Milliseconds(), seed: maphash.MakeSeed(), young: make(map[uint64]transientMessage)}
}

// A transientKey names a message to a user or to a group.
type transientKey struct {
	from, to command.UserID
	group    command.GroupID
	cid      string
}

// lookup reports whether a message is a repeat; body is the hash of its body. For a repeat it returns the first
// one's result if the body is the same, else a *command.RefusedError, as for stored
// messages.
func (p *transientDedup) lookup(key transientKey, body uint64, now int64) (first command.Result, repeat bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.find(maphash.Comparable(p.seed, key), body, now)
}

// record is lookup, and remembers the message if it is no repeat.
func (p *transientDedup) record(key transientKey, id command.MsgID, body uint64, now int64) (first command.Result, repeat bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	k := maphash.Comparable(p.seed, key)
	if first, repeat, err = p.find(k, body, now); repeat {
		return first, repeat, err
	}
	if now-p.turned >= p.window || len(p.young) >= maxTransient/2 {
		p.old, p.young, p.turned = p.young, make(map[uint64]transientMessage), now
	}
	p.young[k] = transientMessage{id: id, time: now, body: body}
	return command.Result{}, false, nil
}

func (p *transientDedup) find(k, body uint64, now int64) (first command.Result, repeat bool, err error) {
	m, ok := p.young[k]
	if !ok {
		m, ok = p.old[k]
	}
	switch {
	case !ok || now-m.time >= p.window:
		return command.Result{}, false, nil
	case m.body != body:
		return command.Result{}, true, &command.RefusedError{Code: command.CodeConflict, Detail: "cid: used before with another body"}
	}
	return command.Result{ID: m.id, Time: m.time, Duplicate: true}, true, nil
}
