package replica

import (
	"sync"

	"github.com/hashicorp/raft"
)

const (
	// recentEntries and recentBytes bound the newest entries of a log that stay in memory.
	// Older ones, and any that is larger, are read from the disk.
	recentEntries = 16
	recentBytes   = 1 << 20
)

// recent holds the newest entries of the log of a replica with others. A leader reads
// each of them twice for each follower, and a follower once to apply it.
type recent struct {
	mu      sync.Mutex
	entries [recentEntries]raft.Log // the one of an index is at index % recentEntries; Index 0: none
	oldest  uint64                  // none before it is held
	next    uint64                  // index behind the newest one
	bytes   int                     // of their data
}

// add keeps entries that were stored. It copies their bytes: those of a leader's entries
// are in a buffer that is used again, those of a follower's in that of a whole request.
func (r *recent) add(entries []*raft.Log) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range entries {
		if e.Index != r.next {
			r.clear()
			r.oldest, r.next = e.Index, e.Index
		}
		kept := *e
		n := len(e.Data)
		both := append(append(make([]byte, 0, n+len(e.Extensions)), e.Data...), e.Extensions...)
		kept.Data, kept.Extensions = both[:n:n], both[n:]
		r.next++
		r.bytes += len(kept.Data)
		for r.next-r.oldest > recentEntries {
			r.drop()
		}
		r.entries[e.Index%recentEntries] = kept
		for r.bytes > recentBytes {
			r.drop()
		}
	}
}

// drop drops the oldest entry. The caller holds mu.
func (r *recent) drop() {
	e := &r.entries[r.oldest%recentEntries]
	r.bytes -= len(e.Data)
	*e = raft.Log{}
	r.oldest++
}

// get returns the entry of an index if it is held. Its data must not be changed.
func (r *recent) get(index uint64, entry *raft.Log) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if index < r.oldest || index >= r.next {
		return false
	}
	*entry = r.entries[index%recentEntries]
	return true
}

// forget drops all entries.
func (r *recent) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clear()
}

// clear is forget for a caller that holds mu.
func (r *recent) clear() {
	clear(r.entries[:])
	r.oldest, r.next, r.bytes = 0, 0, 0
}
