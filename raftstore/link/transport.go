package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

const (
	// pooled are the connections that are kept for further requests to one replica.
	pooled = 2
	// Between tries to reach a follower that is connected but fails.
	retryMin = 10 * time.Millisecond
	retryMax = 500 * time.Millisecond
	// warnAfter is for how long it fails before the log tells, and then how often.
	warnAfter = 10 * time.Second
	// lookEvery is how often a call that waits asks whether it is still wanted.
	lookEvery = 100 * time.Millisecond
	// maxHeardBeats bounds the heartbeats that wait for a group's handler, maxBallots the
	// votes and the like that wait for its main goroutine. Each replica has few out at a
	// time; more are refused.
	maxHeardBeats = 16
	maxBallots    = 16
)

var (
	errStopped   = errors.New("link: the transport is closed")
	errOutdated  = errors.New("link: a newer term has begun")
	errUnlocated = errors.New("link: the replica is at no node of the map")
	errShutDown  = errors.New("link: the replica has shut down")
)

// A Transport carries the RPCs of one replica: entries over connections of the group,
// heartbeats and votes over the control connection, snapshots by a NetworkTransport of
// hashicorp/raft.
//
// AppendEntries, heartbeats and InstallSnapshot wait until the follower's node is
// connected instead of failing, because Raft pauses for up to ten seconds after some
// failures, and would not notice that the node has come back. They give up once the
// replica has shut down, has seen a newer term, or the follower is at no node any more.
// What a follower refuses is the caller's to repeat.
type Transport struct {
	link    *Link
	name    string // of the group
	local   raft.ServerID
	locate  func(raft.ServerID) (NodeID, bool)
	log     *slog.Logger
	net     *raft.NetworkTransport // for snapshots, and what the replica asks itself
	conns   *queue                 // that others have made for net
	rpcs    chan raft.RPC          // for the replica
	beats   chan heardBeat
	ballots chan struct{}   // a place for each that waits
	ctx     context.Context // ends with Close
	cancel  context.CancelFunc

	handler   atomic.Pointer[func(raft.RPC)]
	lastBeat  atomic.Int64 // Unix nanoseconds; when the handler last took a leader's heartbeat
	mu        sync.Mutex
	streams   map[*stream]struct{}
	followers map[raft.ServerID]*follower
	idle      map[raft.ServerID][]*entriesConn // at most pooled each
}

// A heardBeat is a heartbeat that waits for the group's handler.
type heardBeat struct {
	ask     ask
	session *session
}

var (
	_ raft.Transport   = (*Transport)(nil)
	_ raft.WithClose   = (*Transport)(nil)
	_ raft.WithPreVote = (*Transport)(nil)
)

// Transport makes the transport of this node's replica of a Raft group. The name is
// the same at all nodes; local is the replica's server ID, which is its address too.
// locate says at which node another replica is, at each call: it must be quick. There
// can be one transport for a group at a time.
//
// Raft's Shutdown closes the transport when all of its goroutines have ended. Whoever
// gives up a replica that hangs closes it before.
func (l *Link) Transport(group string, local raft.ServerID, locate func(raft.ServerID) (NodeID, bool)) (*Transport, error) {
	if group == "" || len(group) > maxWord {
		return nil, fmt.Errorf("link: group: %q, want 1 to %d bytes", group, maxWord)
	}
	if local == "" || len(local) > maxWord {
		return nil, fmt.Errorf("link: group %s: local: %q, want 1 to %d bytes", group, local, maxWord)
	}
	t := &Transport{
		link: l, name: group, local: local, locate: locate,
		log:       l.log.With("group", group),
		beats:     make(chan heardBeat, maxHeardBeats),
		ballots:   make(chan struct{}, maxBallots),
		streams:   make(map[*stream]struct{}),
		followers: make(map[raft.ServerID]*follower),
		idle:      make(map[raft.ServerID][]*entriesConn),
		rpcs:      make(chan raft.RPC),
	}
	t.conns = newQueue(localAddr(local))
	t.ctx, t.cancel = context.WithCancel(l.ctx)
	t.net = raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		ServerAddressProvider: addresses{},
		Logger:                t.raftLog(),
		Stream:                layer{t},
		MaxPool:               pooled,
		Timeout:               l.config.RPC,
	})
	if err := l.addGroup(t); err != nil {
		t.cancel()
		t.net.Close()
		return nil, err
	}
	return t, nil
}

// addGroup makes t reachable.
func (l *Link) addGroup(t *Transport) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return errClosed
	}
	if l.groups[t.name] != nil {
		return fmt.Errorf("link: group %s has a transport already", t.name)
	}
	l.groups[t.name] = t
	l.work.Go(t.answerBeats)
	l.work.Go(t.forward)
	return nil
}

// raftLog returns the logger of NetworkTransport, which has nothing to say that the
// errors of its calls do not.
func (t *Transport) raftLog() hclog.Logger {
	level := hclog.Off
	if t.log.Enabled(context.Background(), slog.LevelDebug) {
		level = hclog.Warn
	}
	return hclog.New(&hclog.LoggerOptions{
		Output: slog.NewLogLogger(t.log.Handler(), slog.LevelDebug).Writer(), Level: level, DisableTime: true,
	})
}

func (l *Link) group(name string) *Transport {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.groups[name]
}

// Close ends the transport. From then on nothing is sent and nothing answered,
// heartbeats neither. It does not wait for calls of the heartbeat handler.
func (t *Transport) Close() error {
	t.link.mu.Lock()
	if t.link.groups[t.name] == t {
		delete(t.link.groups, t.name)
	}
	t.link.mu.Unlock()
	t.cancel()
	err := t.net.Close()
	t.mu.Lock()
	var streams []*stream
	for s := range t.streams {
		streams = append(streams, s)
	}
	t.mu.Unlock()
	for _, s := range streams {
		s.Close()
	}
	return err
}

// AppendEntries implements raft.Transport.
func (t *Transport) AppendEntries(id raft.ServerID, _ raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	if isHeartbeat(args) {
		return t.persist(id, args.Term, func(s *session) error { return t.heartbeat(s, id, args, resp) })
	}
	return t.persist(id, args.Term, func(*session) error {
		*resp = raft.AppendEntriesResponse{}
		return t.sendEntries(id, args, resp)
	})
}

// isHeartbeat reports whether a request is what hashicorp/raft's receiver takes for a
// heartbeat, which it answers without its main goroutine.
func isHeartbeat(a *raft.AppendEntriesRequest) bool {
	return a.Term != 0 && a.PrevLogEntry == 0 && a.PrevLogTerm == 0 && len(a.Entries) == 0 && a.LeaderCommitIndex == 0
}

// AppendEntriesPipeline implements raft.Transport: there are no pipelines.
func (t *Transport) AppendEntriesPipeline(raft.ServerID, raft.ServerAddress) (raft.AppendPipeline, error) {
	return nil, raft.ErrPipelineReplicationNotSupported
}

// InstallSnapshot implements raft.Transport. The snapshot goes over a connection of its
// own, at the node's rate for all of them, and fails when nothing moves for
// Config.BulkStall: a follower that restores it says that it is alive.
func (t *Transport) InstallSnapshot(id raft.ServerID, target raft.ServerAddress, args *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, data io.Reader) error {
	f := t.follower(id)
	f.ask(args.Term)
	if _, err := t.await(id, f, args.Term); err != nil {
		return err
	}
	// Not repeated: data is read once.
	if err := t.net.InstallSnapshot(id, target, args, resp, data); err != nil {
		f.note(t, id, err)
		return err
	}
	f.heard()
	return nil
}

// Consumer implements raft.Transport.
func (t *Transport) Consumer() <-chan raft.RPC { return t.rpcs }

// LocalAddr implements raft.Transport: the address is the server ID.
func (t *Transport) LocalAddr() raft.ServerAddress { return raft.ServerAddress(t.local) }

// EncodePeer implements raft.Transport.
func (t *Transport) EncodePeer(_ raft.ServerID, address raft.ServerAddress) []byte {
	return []byte(address)
}

// DecodePeer implements raft.Transport.
func (t *Transport) DecodePeer(b []byte) raft.ServerAddress { return raft.ServerAddress(b) }

// SetHeartbeatHandler implements raft.Transport.
func (t *Transport) SetHeartbeatHandler(handler func(raft.RPC)) {
	t.handler.Store(&handler)
	t.net.SetHeartbeatHandler(handler)
}
