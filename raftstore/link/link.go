package link

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/belfry-im/belfry/raftstore/versions"
	"golang.org/x/time/rate"
	"google.golang.org/grpc"
)

// A NodeID is the UUID of a node, made once with its data directory.
type NodeID string

// A Peer is another node, as the cluster's map has it.
type Peer struct {
	ID      NodeID
	Name    string // the one in its certificate
	Address string // host:port
}

// An Identity says who is at the other end of a connection. With TLS, the name is that
// of a certificate that this node's CA bundle vouches for; the ID is what the node says,
// and belongs to that name if it is Known. Without TLS, all of it is what the node says.
type Identity struct {
	ID      NodeID
	Name    string
	Cluster string // "" while it belongs to none
	Known   bool   // it is one of the peers that SetPeers has told of
}

// A PeerState is what the control connection to a peer says of it.
type PeerState uint8

const (
	Connected PeerState = iota + 1
	// Lost: nothing was heard for Config.Silence, or the connection broke. The node may
	// still run, frozen or behind a broken network. A process that has restarted is Lost
	// and Connected again.
	Lost
	// Gone: nothing listens at its address any more, so the process has ended. It may
	// follow on Lost.
	Gone
)

func (s PeerState) String() string {
	switch s {
	case Connected:
		return "connected"
	case Lost:
		return "lost"
	case Gone:
		return "gone"
	}
	return "never connected"
}

// A Link is a node's end of its connections with the other nodes.
type Link struct {
	config       Config
	log          *slog.Logger
	creds        *certs // nil without TLS
	boot         uint64 // a number of this process
	metrics      *metrics
	server       *grpc.Server
	rpcs         *queue        // connections for server
	bulk         *rate.Limiter // nil without a limit
	handshakes   crowd         // connections whose hello is not done
	strangers    crowd         // those of nodes that were not in the map then
	strangerTime time.Duration // of each of these
	maxConns     int
	turn         time.Duration // how much later the next node stands for election
	decide       time.Duration // how long a peer whose connection ended is dialed before it is Lost, unless it is found to be Gone
	said         quieter
	ctx          context.Context // ends with Close
	cancel       context.CancelFunc
	work         sync.WaitGroup

	// A peer's mutex is never taken while this one is held.
	mu         sync.RWMutex
	started    bool
	closed     bool
	listener   net.Listener
	cluster    string
	status     []byte
	hasStatus  bool
	peers      map[NodeID]*peer
	groups     map[string]*Transport
	conns      map[*conn]struct{}
	connCounts map[connCount]int
}

// Open checks the configuration and reads the certificates. It opens no port.
func Open(c Config) (*Link, error) {
	if err := c.complete(); err != nil {
		return nil, err
	}
	l := &Link{
		config: c, log: c.Log, boot: rand.Uint64(),
		handshakes: crowd{max: maxHandshakes},
		strangers:  crowd{max: maxStrangers}, strangerTime: strangerTime,
		maxConns: maxConns, turn: defaultTurn, decide: defaultDecide,
		cluster:    c.Cluster,
		peers:      make(map[NodeID]*peer),
		groups:     make(map[string]*Transport),
		conns:      make(map[*conn]struct{}),
		connCounts: make(map[connCount]int),
	}
	if c.TLS != nil {
		var err error
		if l.creds, err = openCerts(*c.TLS, c.Name, c.Log); err != nil {
			return nil, err
		}
	}
	if c.BulkRate > 0 {
		l.bulk = rate.NewLimiter(rate.Limit(c.BulkRate), bulkChunk)
	}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.metrics = newMetrics(l)
	if c.Metrics != nil {
		if err := c.Metrics.Register(l.metrics); err != nil {
			return nil, fmt.Errorf("link: metrics: %w", err)
		}
	}
	l.server = l.newServer()
	return l, nil
}

// Server returns where gRPC services are registered, before Start. Handlers get []byte
// messages, see Codec, and learn of their caller from PeerOf.
func (l *Link) Server() grpc.ServiceRegistrar { return l.server }

// Start opens the port and begins to connect to the peers.
func (l *Link) Start() error {
	ln, err := net.Listen("tcp", l.config.Listen)
	if err != nil {
		return fmt.Errorf("link: %w", err)
	}
	l.mu.Lock()
	if l.closed || l.started {
		l.mu.Unlock()
		ln.Close()
		return errors.New("link: started before, or closed")
	}
	l.started, l.listener = true, ln
	l.rpcs = newQueue(ln.Addr())
	var peers []*peer
	for _, p := range l.peers {
		peers = append(peers, p)
	}
	l.mu.Unlock()
	l.spawn(func() { l.server.Serve(l.rpcs) })
	l.spawn(func() { l.acceptLoop(ln) })
	if l.creds != nil {
		l.spawn(func() { l.creds.watch(l.ctx) })
	}
	for _, p := range peers {
		l.spawn(p.run)
		l.spawn(p.notify)
	}
	return nil
}

// spawn runs f in a goroutine that Close waits for, and reports false once the Link is
// closed.
func (l *Link) spawn(f func()) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.closed {
		return false
	}
	l.work.Go(f)
	return true
}

// Addr returns the address that the port is open at, nil before Start.
func (l *Link) Addr() net.Addr {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.listener == nil {
		return nil
	}
	return l.listener.Addr()
}

// Close ends all connections and transports, and returns when no goroutine is left, so
// also no call of a callback or a gRPC handler.
func (l *Link) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		l.work.Wait()
		return nil
	}
	l.closed = true
	ln := l.listener
	var groups []*Transport
	for _, t := range l.groups {
		groups = append(groups, t)
	}
	l.mu.Unlock()
	if ln != nil {
		ln.Close() // first: whoever finds that this node has left is to find the port shut
	}
	l.cancel()
	for _, t := range groups {
		t.Close()
	}
	for _, p := range l.allPeers() {
		p.stop()
		p.halt()
	}
	l.closeConns(func(*conn) bool { return true })
	l.server.Stop()
	if l.config.Metrics != nil {
		l.config.Metrics.Unregister(l.metrics)
	}
	l.work.Wait()
	return nil
}

// Cluster returns the cluster that this node belongs to, "" if none.
func (l *Link) Cluster() string {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.cluster
}

// SetCluster says which cluster this node belongs to from now on. Before, it only
// speaks gRPC. It must not change once it is set.
func (l *Link) SetCluster(cluster string) {
	l.mu.Lock()
	l.cluster = cluster
	l.mu.Unlock()
	for _, p := range l.allPeers() {
		poke(p.wake)
	}
}

// SetPeers says which nodes there are. Those that are no longer among them are
// disconnected. This node may be among them.
func (l *Link) SetPeers(peers []Peer) {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return
	}
	gone := l.peers
	l.peers = make(map[NodeID]*peer, len(peers))
	var fresh, kept []*peer
	now := make(map[*peer]Peer)
	for _, p := range peers {
		if p.ID == l.config.ID || l.peers[p.ID] != nil {
			continue
		}
		q := gone[p.ID]
		if q == nil {
			q = newPeer(l, p)
			fresh = append(fresh, q)
		} else {
			delete(gone, p.ID)
			kept = append(kept, q)
		}
		l.peers[p.ID] = q
		now[q] = p
	}
	started := l.started
	l.mu.Unlock()
	for _, q := range gone {
		q.stop()
		q.halt()
	}
	for _, q := range kept {
		q.update(now[q])
	}
	for _, q := range fresh {
		if started {
			l.spawn(q.run)
			l.spawn(q.notify)
		}
	}
}

func (l *Link) peer(id NodeID) *peer {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.peers[id]
}

func (l *Link) allPeers() []*peer {
	l.mu.RLock()
	defer l.mu.RUnlock()
	all := make([]*peer, 0, len(l.peers))
	for _, p := range l.peers {
		all = append(all, p)
	}
	return all
}

// State returns the state of a peer, 0 if it was never connected or is no peer.
func (l *Link) State(node NodeID) PeerState {
	p := l.peer(node)
	if p == nil {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state
}

// Speaks returns which versions a connected peer, or this node, reads; nil if the peer is
// not connected.
func (l *Link) Speaks(node NodeID) versions.Set {
	if node == l.config.ID {
		return l.config.Speaks
	}
	p := l.peer(node)
	if p == nil {
		return nil
	}
	s, _ := p.current()
	if s == nil {
		return nil
	}
	return s.conn.speaks
}

// MaxStatus bounds a status, in bytes.
const MaxStatus = 64<<10 - 1

// SetStatus sets what all peers are told at once, and on connecting. The slice is the
// Link's from then on. A status larger than MaxStatus is an error.
func (l *Link) SetStatus(status []byte) error {
	if len(status) > MaxStatus {
		return fmt.Errorf("link: status of %d bytes, at most %d", len(status), MaxStatus)
	}
	l.mu.Lock()
	l.status, l.hasStatus = status, true
	l.mu.Unlock()
	for _, p := range l.allPeers() {
		if s, _ := p.current(); s != nil {
			s.tellStatus()
		}
	}
	return nil
}

func (l *Link) currentStatus() ([]byte, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.status, l.hasStatus
}

// Offset returns the median of the clocks of the connected peers and of this node,
// against this node's: positive if theirs are ahead. peers is how many it is of, without
// this node. With one peer it is zero, since nobody can say which of two is wrong.
func (l *Link) Offset() (median time.Duration, peers int) {
	var offsets []time.Duration
	for _, p := range l.allPeers() {
		p.mu.Lock()
		connected, offset := p.session != nil, p.offset
		p.mu.Unlock()
		if !connected {
			continue
		}
		if best, ok := offset.best(); ok {
			offsets = append(offsets, best.offset)
		}
	}
	return medianOffset(offsets), len(offsets)
}
