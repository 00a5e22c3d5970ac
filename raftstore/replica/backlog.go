package replica

import (
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
// as large as the state, which limits what the log takes on the disk.
func (l *backlog) snapshotDue(least, size int64) bool {
	bytes := l.bytes.Load()
	return bytes >= least && (bytes >= size || time.Duration(l.time.Load()) >= ReplayMost)
}

func (l *backlog) add(bytes int, took time.Duration) {
	l.bytes.Add(int64(bytes))
	l.time.Add(int64(took))
}

func (l *backlog) reset() {
	l.bytes.Store(0)
	l.time.Store(0)
}
