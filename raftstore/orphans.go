package raftstore

import (
	"sync"
	"time"

	"github.com/belfry-im/belfry/shard/command"
)

type sessionKey struct {
	user    command.UserID
	session command.SessionID
}

// orphans are the sessions of one shard that exist in its state but have no watcher:
// left by a process that died, by a gateway whose Logout did not get through, or at a node
// that is not connected. They are logged out unless a watcher claims them in time. There
// are no more of them than sessions. Only a leader has any.
//
// The time runs while this node leads, and goes on with its next leadership, so that it
// comes to an end however often leaders change. While another node leads it stands still,
// since that node knows whether the sessions are claimed; for long enough, and it begins anew.
type orphans struct {
	mu     sync.Mutex
	since  map[sessionKey]orphan        // nil while there is no leadership
	ended  time.Time                    // when the last leadership did
	waited map[sessionKey]time.Duration // by then
}

// claimGrace is the part of Config.ClaimWithin, as its divisor, for which every leadership
// waits: its nodes need a moment to tell it what they watch.
const claimGrace = 10

type orphan struct {
	at   time.Time // since when it has waited to be claimed
	told bool      // hooks were told that it ended, when its watcher left
}

// reset begins a leadership: the orphans are the live sessions that nobody has claimed.
// Nodes have claimGrace of within to claim them, however long they have waited before.
func (o *orphans) reset(live, claimed map[sessionKey]bool, now time.Time, within time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.since = make(map[sessionKey]orphan)
	if now.Sub(o.ended) > within {
		o.waited = nil
	}
	for key := range live {
		if !claimed[key] {
			o.since[key] = orphan{at: now.Add(-min(o.waited[key], within-within/claimGrace))}
		}
	}
	o.waited = nil
}

// clear ends a leadership.
func (o *orphans) clear(now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.since == nil {
		return // it had not begun
	}
	o.ended, o.waited = now, make(map[sessionKey]time.Duration, len(o.since))
	for key, one := range o.since {
		o.waited[key] = now.Sub(one.at)
	}
	o.since = nil
}

// add adds a session; told says that hooks know that it ended.
func (o *orphans) add(key sessionKey, told bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.since != nil {
		o.since[key] = orphan{at: time.Now(), told: told}
	}
}

func (o *orphans) remove(key sessionKey) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.since, key)
}

// due returns the sessions that were not claimed within a time, which begins anew for
// them. They stay orphans until the caller removes them.
func (o *orphans) due(now time.Time, within time.Duration) map[sessionKey]orphan {
	o.mu.Lock()
	defer o.mu.Unlock()
	var due map[sessionKey]orphan
	for key, one := range o.since {
		if now.Sub(one.at) < within {
			continue
		}
		if due == nil {
			due = make(map[sessionKey]orphan)
		}
		due[key] = one
		one.at = now
		o.since[key] = one
	}
	return due
}
