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

// ReplayMost is the time that a restart may take to replay the log, about: a
// snapshot that becomes due takes some seconds to write, too.
const ReplayMost = 3 * time.Second

// due reports whether it is time for a snapshot, of a state of some size: when the
// log has grown by least, and either takes ReplayMost to replay or has outgrown
// the state, so that the disk holds little beside it.
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
