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
// that is not connected. They are logged out unless a watcher claims them in time, which
// begins when the leader does. There are no more of them than sessions. Only a leader has
// any.
type orphans struct {
	mu    sync.Mutex
	since map[sessionKey]orphan
}

type orphan struct {
	at   time.Time // since when it has waited to be claimed
	told bool      // hooks were told that it ended, when its watcher left
}

// reset begins a leadership: the orphans are the live sessions that nobody has claimed.
func (o *orphans) reset(live, claimed map[sessionKey]bool, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.since = make(map[sessionKey]orphan)
	for key := range live {
		if !claimed[key] {
			o.since[key] = orphan{at: now}
		}
	}
}

// clear ends a leadership.
func (o *orphans) clear() {
	o.mu.Lock()
	defer o.mu.Unlock()
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
