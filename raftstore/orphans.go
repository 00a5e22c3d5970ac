package raftstore

import (
	"sync"
	"time"

	"github.com/belfry-im/belfry/shard"
)

type sessionKey struct {
	user    shard.UserID
	session shard.SessionID
}

// orphans are sessions of one shard that exist in its state but have no
// watcher: left by a process that died, or by a gateway whose Logout did not
// get through. They are logged out unless a watcher claims them in time. There
// are at most as many as sessions.
type orphans struct {
	mu    sync.Mutex
	since map[sessionKey]time.Time
}

// reset begins a reign: of the live sessions all that nobody has claimed.
func (o *orphans) reset(live, claimed map[sessionKey]bool, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.since = make(map[sessionKey]time.Time)
	for key := range live {
		if !claimed[key] {
			o.since[key] = now
		}
	}
}

func (o *orphans) add(key sessionKey) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.since != nil {
		o.since[key] = time.Now()
	}
}

func (o *orphans) remove(key sessionKey) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.since, key)
}

// due lists the sessions whose time to be claimed is over, and begins it anew:
// whoever logs them out removes them when that has been done.
func (o *orphans) due(now time.Time, within time.Duration) []sessionKey {
	o.mu.Lock()
	defer o.mu.Unlock()
	var keys []sessionKey
	for key, since := range o.since {
		if now.Sub(since) >= within {
			keys = append(keys, key)
			o.since[key] = now
		}
	}
	return keys
}
