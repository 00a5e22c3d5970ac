package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

const (
	// pooled are the connections that hashicorp/raft keeps for further RPCs with one
	// replica.
	pooled = 2
	// Between tries to reach a follower that is connected but fails.
	retryMin = 10 * time.Millisecond
	retryMax = 500 * time.Millisecond
	// lookEvery is how often a call that waits asks whether it is still wanted.
	lookEvery = 100 * time.Millisecond
	// maxHeardBeats bounds the heartbeats that wait for a group's handler, maxBallots the
	// votes and the like that wait for its main goroutine. Each replica has few out at a
	// time; more are refused.
	maxHeardBeats = 16
	maxBallots    = 16
)

var (
	errStopped   = errors.New("link: the transport is closed or gated")
	errOutdated  = errors.New("link: a newer term has begun")
	errUnlocated = errors.New("link: the replica is at no node of the map")
	errShutDown  = errors.New("link: the replica has shut down")
)

// A Transport carries the RPCs of one replica: entries and snapshots by a
// NetworkTransport of hashicorp/raft over connections of the group, heartbeats and votes
// over the control connection.
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
	net     *raft.NetworkTransport
	conns   *queue
	beats   chan heardBeat
	ballots chan struct{}   // a place for each that waits
	ctx     context.Context // ends with Close
	cancel  context.CancelFunc

	handler   atomic.Pointer[func(raft.RPC)]
	lastBeat  atomic.Int64 // Unix nanoseconds; when the handler last took a leader's heartbeat
	mu        sync.Mutex
	shut      chan struct{} // closed while the gate is shut
	open      chan struct{} // closed while it is open
	gated     bool
	streams   map[*stream]struct{}
	followers map[raft.ServerID]*follower
}

// A follower is what a leader's calls have learnt of another replica.
type follower struct {
	mu       sync.Mutex
	progress Progress
	asked    uint64 // newest term in which something was sent to it
	answered bool
	failed   string // last error that was logged
}

// A Progress is what a follower is known to have.
type Progress struct {
	Term    uint64    // of the leader that it was learnt as
	Matched uint64    // last index that it has, as of its last answer to AppendEntries or InstallSnapshot
	Moved   time.Time // when Matched last changed
	Heard   time.Time // when it last answered anything
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
		shut:      make(chan struct{}),
		open:      make(chan struct{}),
		streams:   make(map[*stream]struct{}),
		followers: make(map[raft.ServerID]*follower),
	}
	close(t.open)
	t.conns = newQueue(localAddr(local))
	t.ctx, t.cancel = context.WithCancel(l.ctx)
	t.net = raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		ServerAddressProvider: addresses{},
		Logger:                t.raftLog(),
		Stream:                layer{t},
		MaxPool:               pooled,
		MaxRPCsInFlight:       1, // pipelining stops for good after a follower's refusals
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

// Gate stops what a leader sends to its followers, heartbeats too, until it is opened
// again with false: calls wait. What is on its way is not called back.
func (t *Transport) Gate(shut bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.gated == shut {
		return
	}
	t.gated = shut
	if shut {
		close(t.shut)
		t.open = make(chan struct{})
	} else {
		close(t.open)
		t.shut = make(chan struct{})
	}
}

func (t *Transport) gate() (shut bool, shutting, opening <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.gated, t.shut, t.open
}

// Progress returns what a follower is known to have, and reports false if it has not
// answered yet.
func (t *Transport) Progress(id raft.ServerID) (Progress, bool) {
	t.mu.Lock()
	f := t.followers[id]
	t.mu.Unlock()
	if f == nil {
		return Progress{}, false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.progress, f.answered
}

func (t *Transport) follower(id raft.ServerID) *follower {
	t.mu.Lock()
	defer t.mu.Unlock()
	f := t.followers[id]
	if f == nil {
		f = new(follower)
		t.followers[id] = f
	}
	return f
}

// ask notes that something is sent in a term, and reports whether that is the newest.
func (f *follower) ask(term uint64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = max(f.asked, term)
	return f.asked == term
}

// heard notes an answer in a term. matched is 0 if it says nothing of that.
func (f *follower) heard(term, matched uint64) {
	now := time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	p := &f.progress
	if term < p.Term {
		return
	}
	if term > p.Term {
		*p = Progress{Term: term, Moved: now}
	}
	p.Heard, f.answered, f.failed = now, true, ""
	if matched > p.Matched {
		p.Matched, p.Moved = matched, now
	}
}

// nodeOf returns the node that a replica is at.
func (t *Transport) nodeOf(id raft.ServerID) (*peer, error) {
	node, ok := t.locate(id)
	if !ok {
		return nil, errUnlocated
	}
	p := t.link.peer(node)
	if p == nil {
		return nil, errUnlocated
	}
	return p, nil
}

// await waits until a follower's node is connected and the gate is open, or until the
// call is not wanted any more. stop is closed when the gate is shut.
func (t *Transport) await(id raft.ServerID, f *follower, term uint64) (s *session, stop <-chan struct{}, err error) {
	var tick *time.Ticker
	for {
		if t.ctx.Err() != nil {
			return nil, nil, raft.ErrTransportShutdown
		}
		p, err := t.nodeOf(id)
		if err != nil {
			return nil, nil, err
		}
		shut, shutting, opening := t.gate()
		s, changed := p.current()
		if s != nil && !shut {
			return s, shutting, nil
		}
		if !f.ask(term) {
			return nil, nil, errOutdated
		}
		if current, running := t.term(); !running {
			return nil, nil, errShutDown
		} else if current > term {
			return nil, nil, errOutdated
		}
		if tick == nil {
			tick = time.NewTicker(lookEvery)
			defer tick.Stop()
		}
		if !shut {
			opening = nil
		}
		if s != nil {
			changed = nil
		}
		select {
		case <-t.ctx.Done():
		case <-opening:
		case <-changed:
		case <-tick.C:
		}
	}
}

// persist repeats a call to a follower until it is answered or not wanted any more.
func (t *Transport) persist(id raft.ServerID, term uint64, call func(*session, <-chan struct{}) error) error {
	f := t.follower(id)
	f.ask(term)
	pause := retryMin
	for try := 1; ; try++ {
		s, stop, err := t.await(id, f, term)
		if err != nil {
			return err
		}
		if err = call(s, stop); err == nil {
			return nil
		}
		if errors.Is(err, errStopped) || errors.Is(err, errLost) {
			continue // await says what now
		}
		f.note(t, id, err)
		if current, running := t.term(); !running {
			return errShutDown
		} else if current > term {
			return err
		}
		if try > pooled { // the first ones may have found what was pooled and broken
			if err := t.sleep(pause); err != nil {
				return err
			}
			pause = min(2*pause, retryMax)
		}
	}
}

// note logs an error if it is not the one before.
func (f *follower) note(t *Transport, id raft.ServerID, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if text := err.Error(); text != f.failed {
		f.failed = text
		t.log.Debug("a follower does not answer", "replica", string(id), "err", err)
	}
}

func (t *Transport) sleep(d time.Duration) error {
	wait := time.NewTimer(d)
	defer wait.Stop()
	select {
	case <-t.ctx.Done():
		return raft.ErrTransportShutdown
	case <-wait.C:
		return nil
	}
}

// AppendEntries implements raft.Transport. Matched entries count for Progress.
func (t *Transport) AppendEntries(id raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	if isHeartbeat(args) {
		return t.persist(id, args.Term, func(s *session, stop <-chan struct{}) error {
			return t.heartbeat(s, stop, id, args, resp)
		})
	}
	err := t.persist(id, args.Term, func(*session, <-chan struct{}) error {
		*resp = raft.AppendEntriesResponse{}
		return t.net.AppendEntries(id, target, args, resp)
	})
	if err != nil {
		return err
	}
	matched := uint64(0)
	if resp.Success {
		matched = args.PrevLogEntry
		if n := len(args.Entries); n > 0 {
			matched = args.Entries[n-1].Index
		}
	}
	t.follower(id).heard(args.Term, matched)
	return nil
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
	if _, _, err := t.await(id, f, args.Term); err != nil {
		return err
	}
	// Not repeated: data is read once.
	if err := t.net.InstallSnapshot(bulkPrefix+id, bulkPrefix+target, args, resp, data); err != nil {
		f.note(t, id, err)
		return err
	}
	matched := uint64(0)
	if resp.Success {
		matched = args.LastLogIndex
	}
	f.heard(args.Term, matched)
	return nil
}

// Consumer implements raft.Transport.
func (t *Transport) Consumer() <-chan raft.RPC { return t.net.Consumer() }

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

// A stream is a connection of the group.
type stream struct {
	net.Conn
	t *Transport
}

func (s *stream) Close() error {
	s.t.mu.Lock()
	delete(s.t.streams, s)
	s.t.mu.Unlock()
	return s.Conn.Close()
}

// track makes c end with the transport. It reports false, having closed c, if that has
// ended already.
func (t *Transport) track(c net.Conn) (*stream, bool) {
	s := &stream{Conn: c, t: t}
	t.mu.Lock()
	t.streams[s] = struct{}{}
	t.mu.Unlock()
	if t.ctx.Err() != nil {
		s.Close()
		return nil, false
	}
	return s, true
}

// accept takes a connection that another replica of the group has made.
func (t *Transport) accept(c *conn) {
	var inner net.Conn = c
	if c.kind == kindBulk {
		inner = newBulkConn(t, c, false)
	}
	if s, ok := t.track(inner); ok {
		t.conns.put(s)
	}
}

// layer is the raft.StreamLayer of a Transport.
type layer struct{ t *Transport }

func (y layer) Accept() (net.Conn, error) { return y.t.conns.Accept() }
func (y layer) Close() error              { return y.t.conns.Close() }
func (y layer) Addr() net.Addr            { return y.t.conns.Addr() }

// bulkPrefix marks, for layer.Dial, a server ID that is to be reached over bulk.
const bulkPrefix = "bulk:"

// addresses says that the address of a replica is its server ID, so that what
// NetworkTransport pools is for the replica, wherever it is.
type addresses struct{}

func (addresses) ServerAddr(id raft.ServerID) (raft.ServerAddress, error) {
	return raft.ServerAddress(id), nil
}

// Dial connects to the replica with that server ID, at the node where it is now.
func (y layer) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	t := y.t
	k := kindRaft
	id, bulk := strings.CutPrefix(string(address), bulkPrefix)
	if bulk {
		k = kindBulk
	}
	if raft.ServerID(id) == t.local {
		return t.dialSelf()
	}
	p, err := t.nodeOf(raft.ServerID(id))
	if err != nil {
		return nil, err
	}
	if s, _ := p.current(); s == nil {
		return nil, errLost
	}
	ctx, cancel := context.WithTimeout(t.ctx, timeout)
	defer cancel()
	to := p.target(k)
	to.group, to.replica = t.name, id
	c, err := t.link.dial(ctx, to)
	if err != nil {
		return nil, err
	}
	var inner net.Conn = c
	if bulk {
		inner = newBulkConn(t, c, true)
	}
	s, ok := t.track(inner)
	if !ok {
		return nil, raft.ErrTransportShutdown
	}
	return s, nil
}

// A selfConn has no deadlines: what the replica asks itself takes as long as it takes,
// and maxBallots bounds how much of that there is.
type selfConn struct{ net.Conn }

func (selfConn) SetDeadline(time.Time) error { return nil }

// dialSelf connects the transport with itself, for consult and Campaign.
func (t *Transport) dialSelf() (net.Conn, error) {
	near, far := net.Pipe()
	a, ok := t.track(selfConn{near})
	b, ok2 := t.track(far)
	if !ok || !ok2 {
		near.Close()
		far.Close()
		return nil, raft.ErrTransportShutdown
	}
	t.conns.put(b)
	return a, nil
}

// localAddr is the net.Addr of a transport.
type localAddr raft.ServerID

func (a localAddr) Network() string { return "belfry" }
func (a localAddr) String() string  { return string(a) }
