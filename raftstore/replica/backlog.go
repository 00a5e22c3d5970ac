package replica

import (
	"hash/fnv"
	"sync/atomic"
	"time"
)

// A backlog is the part of the log that a restart would replay.
type backlog struct {
	bytes atomic.Int64
	time  atomic.Int64 // ns that it took to apply
}

// ReplayMost is about the longest that a restart may take to replay the log. A
// snapshot that is due takes some seconds more to be written.
const ReplayMost = 3 * time.Second

// snapshotDue reports whether a snapshot is due of a state of size bytes: the log
// has grown by least bytes or more, and takes ReplayMost or more to replay or is
// as large as the state, which limits what the log takes on the disk. A part of each of
// these is enough.
func (l *backlog) snapshotDue(least, size int64, part float64) bool {
	bytes := float64(l.bytes.Load())
	return bytes >= part*float64(least) &&
		(bytes >= part*float64(size) || float64(l.time.Load()) >= part*float64(ReplayMost))
}

// duePart returns a number above 2/3, up to 1, for the replica id: the part of what makes
// a snapshot due at which it takes one. The replicas of a shard apply the same entries,
// and would else all write their snapshots at the same moment.
func duePart(id string) float64 {
	h := fnv.New64a()
	h.Write([]byte(id))
	return 1 - float64(uint16(h.Sum64()))/(1<<16)/3 // the low bits are mixed well
}

func (l *backlog) add(bytes int, took time.Duration) {
	l.bytes.Add(int64(bytes))
	l.time.Add(int64(took))
}

func (l *backlog) reset() {
	l.bytes.Store(0)
	l.time.Store(0)
}
