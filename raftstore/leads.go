package raftstore

import (
	"sync"
	"sync/atomic"

	"github.com/belfry-im/belfry/raftstore/placement"
)

// A leads is what this node knows of who leads a shard: the leadership with the highest
// term that it was told of, by that leader itself.
type leads struct {
	highest atomic.Uint64 // term; answers of a lower one are not believed

	mu      sync.Mutex
	node    placement.NodeID // "" once the leadership has ended
	changed chan struct{}    // closed with the next change
}

// get returns the node that leads the shard, and in which term; "" while it is not
// known. changed is closed when that changes.
func (k *leads) get() (node placement.NodeID, term uint64, changed <-chan struct{}) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.changed == nil {
		k.changed = make(chan struct{})
	}
	return k.node, k.highest.Load(), k.changed
}

// learn takes over that a node leads in a term. It reports whether that is news.
func (k *leads) learn(node placement.NodeID, term uint64) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if term <= k.highest.Load() {
		return false
	}
	k.highest.Store(term)
	k.set(node)
	return true
}

// refused takes over that nobody leads in a term any more.
func (k *leads) refused(term uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if term == k.highest.Load() && k.node != "" {
		k.set("")
	}
}

// left takes over that a node leads no more.
func (k *leads) left(node placement.NodeID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.node == node && node != "" {
		k.set("")
	}
}

func (k *leads) set(node placement.NodeID) {
	k.node = node
	if k.changed != nil {
		close(k.changed)
		k.changed = nil
	}
}
