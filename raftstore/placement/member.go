package placement

import (
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
)

// stores are what Raft keeps.
type stores struct {
	log       raft.LogStore
	stable    raft.StableStore
	snapshots raft.SnapshotStore
	close     func() error
	// release ends the goroutines that wait for storage.
	release func()
}

const keptSnapshots = 2

// termKey is where Raft stores its term.
var termKey = []byte("CurrentTerm")

// begun reports whether a founder has begun the group. raft.BootstrapCluster stores the
// term 1, then the first entry; after a crash in between it refuses to run again unless
// the term is 0. Whoever has voted has a higher one.
func (s stores) begun() (bool, error) {
	term, err := s.stable.GetUint64(termKey)
	if err != nil && err.Error() != "not found" || term > 1 {
		return true, err
	}
	last, err := s.log.LastIndex()
	if err != nil || last > 0 {
		return true, err
	}
	snapshots, err := s.snapshots.List()
	return len(snapshots) > 0, err
}

func openStores(dir string, log *slog.Logger, hold func()) (stores, error) {
	bolt, err := raftboltdb.New(raftboltdb.Options{
		Path: filepath.Join(dir, "raft.db"), BoltOptions: &bbolt.Options{Timeout: 5 * time.Second},
	})
	if err != nil {
		return stores{}, err
	}
	snapshots, err := raft.NewFileSnapshotStoreWithLogger(dir, keptSnapshots, hclogger(log))
	if err != nil {
		return stores{}, errors.Join(err, bolt.Close())
	}
	released := make(chan struct{})
	return stores{
		log: heldLog{bolt, hold}, stable: &patientStore{bolt, released, hold, log}, snapshots: heldSnapshots{snapshots, hold},
		close: bolt.Close, release: sync.OnceFunc(func() { close(released) }),
	}, nil
}

// A patientStore repeats what fails, since Raft panics when it cannot store a term.
type patientStore struct {
	raft.StableStore
	released <-chan struct{}
	hold     func()
	log      *slog.Logger
}

func (s *patientStore) Set(key, value []byte) error {
	return s.persist(func() error { return s.StableStore.Set(key, value) })
}

func (s *patientStore) SetUint64(key []byte, value uint64) error {
	return s.persist(func() error { return s.StableStore.SetUint64(key, value) })
}

func (s *patientStore) persist(write func() error) error {
	for {
		s.hold()
		err := write()
		if err == nil {
			return nil
		}
		s.log.Error("placement's term or vote cannot be stored, trying again", "err", err)
		select {
		case <-s.released:
			runtime.Goexit() // as if the process had died here
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// A heldLog is a log on a disk that may hang, see GroupConfig.Hold.
type heldLog struct {
	raft.LogStore
	hold func()
}

func (l heldLog) StoreLog(entry *raft.Log) error {
	l.hold()
	return l.LogStore.StoreLog(entry)
}

func (l heldLog) StoreLogs(entries []*raft.Log) error {
	l.hold()
	return l.LogStore.StoreLogs(entries)
}

func (l heldLog) DeleteRange(first, last uint64) error {
	l.hold()
	return l.LogStore.DeleteRange(first, last)
}

// heldSnapshots are snapshots on such a disk.
type heldSnapshots struct {
	raft.SnapshotStore
	hold func()
}

func (s heldSnapshots) Create(version raft.SnapshotVersion, index, term uint64, c raft.Configuration, cIndex uint64, t raft.Transport) (raft.SnapshotSink, error) {
	s.hold()
	return s.SnapshotStore.Create(version, index, term, c, cIndex, t)
}

// hclogger hands what Raft has to warn of to log.
func hclogger(log *slog.Logger) hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{Level: hclog.Warn, DisableTime: true, Output: logWriter{log}})
}

type logWriter struct{ log *slog.Logger }

func (w logWriter) Write(line []byte) (int, error) {
	w.log.Debug("raft of placement: " + strings.TrimSpace(string(line)))
	return len(line), nil
}

// A member is what Raft runs for placement on this node.
type member struct {
	raft      *raft.Raft
	stores    stores
	transport *transport
	leads     chan bool      // from Raft: whether this node leads
	hang      *hang          // of the disk
	calls     sync.WaitGroup // RPCs that are not Raft's
	proposals sync.WaitGroup // grows only while it is the group's member
}

// raftConfig returns how Raft is to run.
func (g *Group) raftConfig(leads chan bool) *raft.Config {
	conf := raft.DefaultConfig()
	conf.LocalID = raft.ServerID(g.cfg.Node.ID)
	conf.HeartbeatTimeout, conf.ElectionTimeout, conf.LeaderLeaseTimeout = g.cfg.timeout, g.cfg.timeout, g.cfg.timeout
	conf.CommitTimeout = g.cfg.timeout / 10
	conf.SnapshotInterval, conf.SnapshotThreshold, conf.TrailingLogs = 2*time.Minute, 512, 256
	conf.ShutdownOnRemove = false
	conf.NoLegacyTelemetry = true
	conf.NotifyCh = leads
	conf.Logger = hclogger(g.log)
	return conf
}

// A say is what the leader says of this node.
type say uint8

const (
	saysNothing say = iota // it was not asked
	saysNoVoter
	saysVoter
)

// openMember starts Raft unless it runs. It begins the group if this node is one of its
// founders and the log is empty. The error is errVotesLost if the node has voted, or may
// have, and knows nothing of it, and errUnsure if only the leader can tell.
func (g *Group) openMember(leader say) (err error) {
	g.memberMu.Lock()
	defer g.memberMu.Unlock()
	if g.running() != nil || g.ctx.Err() != nil {
		return nil
	}
	st, err := g.cfg.stores()
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, st.close())
		}
	}()
	leads := make(chan bool, 8)
	conf := g.raftConfig(leads)
	hang := newHang()
	transport, err := g.openTransport(hang)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, transport.Close()) // the next attempt needs another one, and a group has one at a time
		}
	}()
	exists, err := raft.HasExistingState(st.log, st.stable, st.snapshots)
	if err == nil && exists && g.founders != nil && g.Map().Version == 0 {
		exists, err = st.begun()
	}
	if err != nil {
		return err
	}
	lost := !exists && (g.founders == nil && leader == saysVoter || g.founders != nil && g.Map().Version > 0)
	unsure := !exists && g.founders == nil && leader == saysNothing
	if err := g.markVotes(st.stable, exists, lost, unsure); err != nil {
		return err
	}
	if !exists && g.founders != nil {
		var first raft.Configuration
		for _, f := range g.founders {
			first.Servers = append(first.Servers, raft.Server{ID: raft.ServerID(f.ID), Address: raft.ServerAddress(f.ID)})
		}
		if err := st.stable.SetUint64(termKey, 0); err != nil {
			return err
		}
		if err := raft.BootstrapCluster(conf, st.log, st.stable, st.snapshots, transport, first); err != nil {
			return err
		}
	}
	m := &member{stores: st, transport: transport, leads: leads, hang: hang}
	if m.raft, err = startRaft(conf, &fsm{g: g, state: NewState()}, g.gatedLog(m), st, transport); err != nil {
		return err
	}
	g.mu.Lock()
	g.member = m
	close(g.changed) // whoever waits looks again
	g.changed = make(chan struct{})
	g.mu.Unlock()
	return nil
}

// closeMember stops Raft, if it runs here.
func (g *Group) closeMember() error {
	g.memberMu.Lock()
	defer g.memberMu.Unlock()
	g.mu.Lock()
	m := g.member
	g.member = nil
	g.mu.Unlock()
	if m == nil {
		return nil
	}
	m.stores.release()
	m.settle(g.cfg.timeout)
	err := m.raft.Shutdown().Error()
	m.calls.Wait()
	return errors.Join(err, m.stores.close())
}

// settle waits for proposals: Raft does not answer what is committed as it ends. A leader
// without followers gives them up within timeout, and on a disk that hangs they have to
// wait for ever.
func (m *member) settle(timeout time.Duration) {
	settled := make(chan struct{})
	go func() {
		m.proposals.Wait()
		close(settled)
	}()
	select {
	case <-settled:
	case <-m.hang.done():
	case <-time.After(proposeTry + 2*timeout):
	}
}

// proposing is running for a caller who proposes, and calls proposals.Done after that.
func (g *Group) proposing() *member {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.member != nil {
		g.member.proposals.Add(1)
	}
	return g.member
}

// running returns what Raft runs here, nil if nothing.
func (g *Group) running() *member {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.member
}

// shouldVote reports whether the map has this node among the voters.
func (g *Group) shouldVote() bool {
	return slices.Contains(g.Map().Voters(), g.cfg.Node.ID)
}

// An fsm is the State as Raft sees it. Raft calls it from one goroutine.
type fsm struct {
	g     *Group
	state *State
}

// applied is what the proposer of a command gets from Apply.
type applied struct {
	version uint64 // of the map that shows the command's effect
	refusal *Refusal
}

func (f *fsm) Apply(l *raft.Log) any {
	c, err := DecodeCommand(l.Data)
	if err != nil {
		// This binary is older than the leader's. To go on would be to disagree.
		f.g.end(err)
		runtime.Goexit()
	}
	err = f.state.Apply(l.Index, c)
	f.g.publish(f.state.Map())
	refusal, _ := errors.AsType[*Refusal](err)
	return applied{version: f.state.Map().Version, refusal: refusal}
}

func (f *fsm) Snapshot() (raft.FSMSnapshot, error) {
	data, err := f.state.Snapshot()
	return snapshot(data), err
}

func (f *fsm) Restore(r io.ReadCloser) error {
	data, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		return err
	}
	state, err := Load(data)
	if err != nil {
		return err
	}
	f.state = state
	f.g.publish(state.Map())
	return nil
}

type snapshot []byte

func (s snapshot) Persist(sink raft.SnapshotSink) error {
	_, err := sink.Write(s)
	if err != nil {
		return errors.Join(err, sink.Cancel())
	}
	return sink.Close()
}

func (snapshot) Release() {}
