package raftstore

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

const (
	// soloTimeout is the election time-out of a group with one voter, where
	// nothing but the start waits for it.
	soloTimeout = 100 * time.Millisecond
	// keptSnapshots is how many snapshots stay on disk. The log reaches back to
	// the older one.
	keptSnapshots = 2
)

// A node is what Raft runs for one shard on this node, from open to close. A
// group whose log fails closes its node and opens another.
type node struct {
	raft   *raft.Raft
	logs   *logStore
	stable *stableStore
	halt   *halt
	failed chan error // what made the log fail; once

	snapshots    sync.WaitGroup
	snapshotting atomic.Bool
	snapshotFrom atomic.Int64 // not before, after a failure; Unix ns
}

// openNode opens the stores of the group and starts Raft. What the log and the
// snapshots hold is applied to a new state.
func (g *group) openNode() (n *node, err error) {
	n = &node{halt: newHalt(), failed: make(chan error, 1)}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("shard %d: %w", g.id, err), n.closeStores())
			n = nil
		}
	}()
	if err := os.MkdirAll(g.dir, dirMode); err != nil {
		return n, err
	}
	logger := &hclogger{log: g.log}
	snapshots, err := openSnapshots(g.dir, logger)
	if err != nil {
		return n, err
	}
	bolt, err := openBolt(filepath.Join(g.dir, "stable.db"))
	if err != nil {
		return n, fmt.Errorf("open stable store: %w", err)
	}
	n.stable = &stableStore{BoltStore: bolt, halt: n.halt, stuck: func(err error) {
		g.log.Error("term or vote cannot be stored, trying again", "err", err)
	}}
	n.logs, err = openLog(g.cfg, g.dir, logger)
	if err != nil {
		return n, err
	}
	// The files just made must not vanish with their directory entry.
	if err := errors.Join(syncDir(g.dir), syncDir(g.cfg.Dir)); err != nil {
		return n, err
	}
	n.logs.snapshots = snapshots
	n.logs.halt = n.halt
	n.logs.failed = func(err error) { n.failed <- err }
	n.logs.appended = func(d time.Duration) { g.metrics.append.Observe(d.Seconds()) }

	conf := raft.DefaultConfig()
	conf.LocalID = raft.ServerID(g.cfg.Node)
	conf.Logger = logger
	conf.HeartbeatTimeout, conf.ElectionTimeout, conf.LeaderLeaseTimeout = soloTimeout, soloTimeout, soloTimeout
	// Snapshots are taken, and the log is kept, by bytes: see upkeep and
	// logStore.DeleteRange.
	conf.SnapshotThreshold = math.MaxUint64
	conf.SnapshotInterval = time.Hour
	conf.TrailingLogs = 0
	conf.NoLegacyTelemetry = true
	addr, transport := raft.NewInmemTransport(raft.ServerAddress(g.cfg.Node))

	if err := bootstrap(conf, n, snapshots, addr, transport); err != nil {
		return n, fmt.Errorf("bootstrap: %w", err)
	}
	g.reset()
	if n.raft, err = startRaft(conf, fsm{g, n.logs}, n, snapshots, transport); err != nil {
		return n, err
	}
	n.halt.arm()
	return n, nil
}

// bootstrap makes this node the only voter of an empty group.
func bootstrap(conf *raft.Config, n *node, snapshots raft.SnapshotStore, addr raft.ServerAddress, transport raft.Transport) error {
	last, err := n.logs.LastIndex()
	if err != nil {
		return err
	}
	metas, err := snapshots.List()
	if err != nil {
		return err
	}
	if last > 0 || len(metas) > 0 {
		return nil
	}
	// BootstrapCluster stores a term, then the first entry. After a crash in
	// between it would refuse to begin anew.
	if err := n.stable.SetUint64([]byte("CurrentTerm"), 0); err != nil {
		return err
	}
	return raft.BootstrapCluster(conf, n.logs, n.stable, snapshots, transport, raft.Configuration{
		Servers: []raft.Server{{ID: conf.LocalID, Address: addr}},
	})
}

// startRaft turns the panics of NewRaft, about a log or a store that cannot be
// read, into errors.
func startRaft(conf *raft.Config, f fsm, n *node, snapshots raft.SnapshotStore, transport raft.Transport) (r *raft.Raft, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("start: %v", cause)
		}
	}()
	return raft.NewRaft(conf, f, n.logs, n.stable, snapshots, transport)
}

// snapshot takes a snapshot in the background, unless one is being taken.
func (n *node) snapshot(g *group) {
	if time.Now().UnixNano() < n.snapshotFrom.Load() || !n.snapshotting.CompareAndSwap(false, true) {
		return
	}
	n.snapshots.Go(func() {
		defer n.snapshotting.Store(false)
		start := time.Now()
		switch err := n.raft.Snapshot().Error(); {
		case err == nil:
			// However large the state, no more than half of the time goes into
			// writing it.
			n.snapshotFrom.Store(time.Now().Add(time.Since(start)).UnixNano())
			g.metrics.snapshots.Inc()
			g.metrics.snapshotFailed.Set(0)
			g.log.Info("snapshot taken", "took", time.Since(start))
		case errors.Is(err, raft.ErrNothingNewToSnapshot), errors.Is(err, raft.ErrRaftShutdown):
		default:
			n.snapshotFrom.Store(time.Now().Add(time.Minute).UnixNano())
			g.metrics.snapshotFailed.Set(1)
			g.log.Error("snapshot failed", "err", err)
		}
	})
}

// close stops Raft and closes its stores. It returns when nothing of them runs.
func (n *node) close() error {
	n.halt.release()
	err := n.raft.Shutdown().Error()
	n.snapshots.Wait()
	return errors.Join(err, n.closeStores())
}

func (n *node) closeStores() error {
	var errs []error
	if n.logs != nil {
		errs = append(errs, n.logs.Close())
	}
	if n.stable != nil {
		errs = append(errs, n.stable.Close())
	}
	return errors.Join(errs...)
}
