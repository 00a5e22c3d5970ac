package raftstore

import (
	"hash/maphash"
	"sync"
	"time"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/cespare/xxhash/v2"
)

// maxPassed bounds the messages whose repeats are known. Past it the older half
// is forgotten.
const maxPassed = 1 << 16

// A passedTable knows the messages that went to who was connected and are stored
// nowhere, so that a repeat reaches nobody a second time. It lies in memory
// alone: a restart forgets it.
type passedTable struct {
	window int64 // ms for which a repeat is known
	seed   maphash.Seed

	mu         sync.Mutex
	young, old map[uint64]passedMessage
	turned     int64 // ms, when old was young last
}

// A passedMessage is what a repeat is answered with.
type passedMessage struct {
	id   command.MsgID
	time int64  // ms
	body uint64 // hash
}

func newPassedTable(window time.Duration) *passedTable {
	return &passedTable{window: window.Milliseconds(), seed: maphash.MakeSeed(), young: make(map[uint64]passedMessage)}
}

// A passedKey names a message: to a user or to a group.
type passedKey struct {
	from, to command.UserID
	group    command.GroupID
	cid      string
}

// repeated answers a message that has been passed on before as a stored one is:
// with the first's result when the body is the same, else with a
// *command.RefusedError.
func (p *passedTable) repeated(key passedKey, body []byte, now int64) (first command.Result, repeat bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.find(maphash.Comparable(p.seed, key), xxhash.Sum64(body), now)
}

// pass is repeated, and notes a message that is not as one that is passed on now.
func (p *passedTable) pass(key passedKey, id command.MsgID, body []byte, now int64) (first command.Result, repeat bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	k, sum := maphash.Comparable(p.seed, key), xxhash.Sum64(body)
	if first, repeat, err = p.find(k, sum, now); repeat {
		return first, repeat, err
	}
	if now-p.turned >= p.window || len(p.young) >= maxPassed/2 {
		p.old, p.young, p.turned = p.young, make(map[uint64]passedMessage), now
	}
	p.young[k] = passedMessage{id: id, time: now, body: sum}
	return command.Result{}, false, nil
}

func (p *passedTable) find(k, body uint64, now int64) (first command.Result, repeat bool, err error) {
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
