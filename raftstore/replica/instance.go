package replica

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/belfry-im/belfry/raftstore/diskgate"
	"github.com/belfry-im/belfry/raftstore/sharedlog"
)

const (
	// soloTimeout is the default of Config.ElectionTimeout for a shard with one
	// voter, where nothing but the start waits for it.
	soloTimeout = 100 * time.Millisecond
	// groupTimeout is the default for a shard with several. Less would replace leaders
	// whose machines are only busy.
	groupTimeout = 400 * time.Millisecond
	// groupCommitTimeout is how long a leader of several waits before it tells its
	// followers, beside heartbeats, what is committed when nothing else is to be sent.
	groupCommitTimeout = time.Second
	// keptSnapshots is how many snapshots stay on disk. The log reaches back to
	// the older one.
	keptSnapshots = 2
)

// An instance is what Raft runs for one shard on this node, from open to close. A
// replica whose log fails closes its instance and opens another.
type instance struct {
	replica *Replica

	raft      *raft.Raft
	timeout   time.Duration  // of elections
	transport io.Closer      // nil if nothing of it is to be closed
	peers     *peers         // Config.Transport's transport, or one that leads nowhere
	calls     sync.WaitGroup // RPCs that are not Raft's
	logs      *logStore
	stored    *snapshotStore
	stable    *stableStore
	halt      *halt
	failed    chan error    // holds the first error for which the instance is to be closed
	stale     chan struct{} // has a value if the log that is shared has asked for a snapshot

	member  bool        // this replica was a member in some committed configuration; owned by Raft's apply goroutine
	removed atomic.Bool // and is none in the newest

	snapshots    sync.WaitGroup
	snapshotting atomic.Bool
	snapshotFrom atomic.Int64 // the next snapshot is not taken before this time; Unix ns
}

// openInstance opens the stores of the replica and starts Raft, which loads the
// newest snapshot and the log behind it into an empty state.
func (r *Replica) openInstance() (in *instance, err error) {
	in = &instance{replica: r, halt: newHalt(), failed: make(chan error, 1), stale: make(chan struct{}, 1)}
	r.restoreErr = nil // of a snapshot that was installed
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("shard %d: %w", r.cfg.Shard, err), in.closeStores())
			in = nil
		}
	}()
	if r.cfg.Made {
		if err := CheckFiles(&r.cfg); err != nil {
			return in, err
		}
	} else if err := os.MkdirAll(r.cfg.Dir, DirMode); err != nil {
		return in, err
	}
	logger := &hclogger{log: r.log}
	snapshots, err := openSnapshots(r.cfg.Dir, r.cfg.Shard, r.cfg.WALFS, logger)
	if err != nil {
		return in, err
	}
	in.logs, err = openLog(&r.cfg, logger, in.user())
	if err != nil {
		return in, err
	}
	votes, err := openStable(&r.cfg, in.logs)
	if err != nil {
		return in, err
	}
	in.stable = &stableStore{stableFiles: votes, halt: in.halt, fs: r.cfg.WALFS, stuck: func(err error) {
		r.log.Error("term or vote cannot be stored, trying again", "err", err)
	}}
	// The files just made must not vanish with their directory entry.
	if err := errors.Join(SyncDir(r.cfg.Dir), SyncDir(filepath.Dir(r.cfg.Dir))); err != nil {
		return in, err
	}
	in.stored = snapshots
	in.logs.snapshots, snapshots.log = snapshots, in.logs
	in.logs.halt = in.halt
	if r.cfg.Transport != nil {
		in.logs.recent = new(recent)
	}
	in.logs.failed = in.fail
	in.logs.appended = func(d time.Duration) {
		r.metrics.append.Observe(d.Seconds())
		if l := r.leadership.Load(); l != nil {
			l.proposer.wrote()
		}
	}

	conf, addr, err := r.raftConfig(in)
	if err != nil {
		return in, err
	}
	conf.Logger = logger
	if err := in.logs.reconcile(); err != nil {
		if errors.Is(err, errIncomplete) {
			r.restoreErr = err
		}
		return in, fmt.Errorf("snapshot and log: %w", err)
	}
	if err := bootstrap(conf, r.firstServers(addr), in, snapshots); err != nil {
		return in, fmt.Errorf("bootstrap: %w", err)
	}
	r.reset(false)
	if in.raft, err = startRaft(conf, fsm{r, in}, in, snapshots); err != nil {
		return in, err
	}
	in.peers.raft.Store(in.raft)
	if r.cfg.Transport != nil {
		in.calls.Go(in.standInTime)
	}
	in.halt.arm()
	return in, nil
}

// user is told of the log that is shared. It may be, before the instance is open.
func (in *instance) user() sharedlog.User {
	return sharedlog.User{
		Failed: func(err error) {
			select {
			case in.failed <- err:
			default:
			}
		},
		Stale: func() {
			select {
			case in.stale <- struct{}{}:
			default:
			}
		},
	}
}

// raftConfig returns how Raft is to run, and opens its transport for in.
func (r *Replica) raftConfig(in *instance) (*raft.Config, raft.ServerAddress, error) {
	conf := raft.DefaultConfig()
	conf.LocalID = raft.ServerID(r.cfg.ID)
	// Snapshots are taken, and the log is kept, by bytes: see upkeep and
	// logStore.DeleteRange.
	conf.SnapshotThreshold = math.MaxUint64
	conf.SnapshotInterval = time.Hour
	conf.TrailingLogs = 0
	conf.NoLegacyTelemetry = true
	timeout := r.cfg.ElectionTimeout
	if r.cfg.Transport == nil {
		timeout = cmp.Or(timeout, soloTimeout)
	} else {
		timeout = cmp.Or(timeout, groupTimeout)
		conf.CommitTimeout = groupCommitTimeout
	}
	in.timeout = timeout
	conf.HeartbeatTimeout, conf.ElectionTimeout, conf.LeaderLeaseTimeout = timeout, timeout, timeout
	addr := raft.ServerAddress(r.cfg.ID)
	var transport raft.Transport
	if r.cfg.Transport == nil {
		_, transport = raft.NewInmemTransport(addr)
	} else {
		addr, transport, in.transport = r.cfg.Transport()
	}
	var err error
	in.peers, err = newPeers(conf.LocalID, timeout-timeout/turns, transport)
	return conf, addr, err
}

// firstServers returns the voters with which a new shard begins; none: it waits for a
// leader that adds this replica.
func (r *Replica) firstServers(addr raft.ServerAddress) []raft.Server {
	if r.cfg.Transport == nil {
		return []raft.Server{{ID: raft.ServerID(r.cfg.ID), Address: addr}}
	}
	var servers []raft.Server
	for _, m := range r.cfg.Bootstrap {
		servers = append(servers, raft.Server{ID: raft.ServerID(m.ID), Address: raft.ServerAddress(m.ID)})
	}
	return servers
}

// bootstrap makes servers the voters of an empty shard.
func bootstrap(conf *raft.Config, servers []raft.Server, in *instance, snapshots raft.SnapshotStore) error {
	if len(servers) == 0 {
		return nil
	}
	last, err := in.logs.LastIndex()
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
	// BootstrapCluster stores a term, then the first entry. After a crash in between it
	// refuses to run again unless the term is 0.
	if err := in.stable.SetUint64([]byte("CurrentTerm"), 0); err != nil {
		return err
	}
	return raft.BootstrapCluster(conf, in.logs, in.stable, snapshots, in.peers, raft.Configuration{Servers: servers})
}

// startRaft turns the panics of NewRaft, about a log or a store that cannot be
// read, into errors.
func startRaft(conf *raft.Config, f fsm, in *instance, snapshots raft.SnapshotStore) (r *raft.Raft, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("start: %v", cause)
		}
	}()
	var logs raft.LogStore = in.logs
	if f.cfg.Transport != nil {
		logs = gatedLog{in.logs, diskgate.New(in.timeout, in.logs.took.P99, in.gate)}
	}
	return raft.NewRaft(conf, f, logs, in.stable, snapshots, in.peers)
}

// snapshotIfIdle takes a snapshot in the background, unless one is being taken or the
// last one was too short a while ago.
func (in *instance) snapshotIfIdle() {
	r := in.replica
	if time.Now().UnixNano() < in.snapshotFrom.Load() || !in.snapshotting.CompareAndSwap(false, true) {
		return
	}
	in.snapshots.Go(func() {
		defer in.snapshotting.Store(false)
		start := time.Now()
		switch err := in.snapshot(); {
		case err == nil:
			// However large the state, no more than half of the time goes into
			// writing it.
			in.snapshotFrom.Store(time.Now().Add(time.Since(start)).UnixNano())
			r.metrics.snapshots.Inc()
			r.metrics.snapshotFailed.Set(0)
			r.log.Info("snapshot taken", "took", time.Since(start))
		case errors.Is(err, raft.ErrNothingNewToSnapshot), errors.Is(err, raft.ErrRaftShutdown), errors.Is(err, errOvertaken):
		default:
			in.snapshotFrom.Store(time.Now().Add(time.Minute).UnixNano())
			r.metrics.snapshotFailed.Set(1)
			r.log.Error("snapshot failed", "err", err)
		}
	})
}

// snapshot takes a snapshot.
func (in *instance) snapshot() error {
	return in.stored.take(func() error { return in.raft.Snapshot().Error() })
}

// close stops Raft and closes its stores. It returns when nothing of them runs.
func (in *instance) close() error {
	in.halt.release()
	err := in.closeTransport()
	err = errors.Join(err, in.raft.Shutdown().Error())
	in.snapshots.Wait()
	in.calls.Wait()
	return errors.Join(err, in.closeStores())
}

// closeTransport cuts this replica off from the others of its shard. It is called before
// all else that is closed: what still runs then can neither vote nor lead.
func (in *instance) closeTransport() error {
	if in.peers != nil {
		in.peers.cut()
		in.peers.forward.Wait()
	}
	t := in.transport
	if in.transport = nil; t == nil {
		return nil
	}
	return t.Close()
}

// fail makes the replica close the instance, and open another. The instance is cut off
// from the other replicas at once.
func (in *instance) fail(err error) {
	in.peers.cut()
	select {
	case in.failed <- err:
	default: // it has failed already
	}
}

// closeStores closes what openInstance has opened.
func (in *instance) closeStores() error {
	var errs []error
	errs = append(errs, in.closeTransport())
	if in.logs != nil {
		errs = append(errs, in.logs.Close())
	}
	if in.stable != nil {
		errs = append(errs, in.stable.Close())
	}
	return errors.Join(errs...)
}

// Snapshot takes a snapshot now, if this node leads the shard.
func (r *Replica) Snapshot() error {
	l := r.leadership.Load()
	if l == nil {
		return r.unavailable()
	}
	return l.instance.snapshot()
}

// LastIndex returns the index of the newest entry of the log, 0 while this node does
// not lead the shard.
func (r *Replica) LastIndex() uint64 {
	l := r.leadership.Load()
	if l == nil {
		return 0
	}
	return l.instance.raft.LastIndex()
}
