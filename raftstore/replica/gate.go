package replica

import (
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/belfry-im/belfry/raftstore/diskgate"
)

const (
	// slowDiskTimes gates within slowDiskWithin make a slow disk.
	slowDiskTimes  = 3
	slowDiskWithin = 10 * time.Minute
)

// A gatedLog is a log whose appends a gate watches.
type gatedLog struct {
	*logStore
	gate *diskgate.Gate
}

func (l gatedLog) StoreLogs(entries []*raft.Log) error {
	l.gate.Begin()
	defer l.gate.End()
	return l.logStore.StoreLogs(entries)
}

// gate stops, or lets on, what this replica sends as leader.
func (in *instance) gate(shut bool) {
	in.peers.gated.Store(shut)
	if running := in.peers.raft.Load(); !shut || running == nil || running.State() != raft.Leader {
		return
	}
	r := in.replica
	r.leadership.Load().abandon()
	r.metrics.gated.Inc()
	r.log.Error("disk hangs: the shard is left to another leader")
	if r.slowDisk.again(time.Now()) && r.cfg.OnSlowDisk != nil {
		r.cfg.OnSlowDisk()
	}
}

// A recurrence tells when something has happened slowDiskTimes within slowDiskWithin.
type recurrence struct {
	mu    sync.Mutex
	times []time.Time
}

// again notes that it happened, and reports whether it was often enough.
func (c *recurrence) again(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.times = slices.DeleteFunc(c.times, func(t time.Time) bool { return now.Sub(t) >= slowDiskWithin })
	c.times = append(c.times, now)
	return len(c.times) >= slowDiskTimes
}
