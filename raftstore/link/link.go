package link

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"time"

	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
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
// of a certificate that this node's CA bundle vouches for.
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
	// still run, frozen or behind a broken network.
	Lost
	// Gone: nothing listens at its address any more, so the process has ended.
	Gone
)

// A Config configures a Link. ID, Name and Listen are needed, and one of TLS, Insecure
// or a Listen on a loopback address.
type Config struct {
	ID      NodeID
	Name    string
	Cluster string // UUID; "" until the node belongs to a cluster, see Link.SetCluster
	Listen  string // host:port
	TLS     *TLSFiles
	// Insecure: nodes on other machines may speak without TLS, so whoever reaches the
	// port may pass for any of them.
	Insecure bool

	// OnStatus is called with the newest status of a peer; older ones may be skipped.
	// OnPeer is called with each change of a peer's state. The calls for one peer come
	// one after the other, in order; those for different peers may come together. Both
	// may be nil.
	OnStatus func(node NodeID, status []byte)
	OnPeer   func(node NodeID, state PeerState)

	// Silence is the time after which a peer that says nothing is Lost; 0 = 2 s.
	Silence time.Duration
	// Handshake bounds TLS and hello of a connection; 0 = 5 s.
	Handshake time.Duration
	// RPC is the time-out of an RPC of Raft, but for InstallSnapshot; 0 = 10 s.
	RPC time.Duration
	// BulkRate bounds what this node sends of snapshots, in bytes a second;
	// 0 = 64 MiB, negative = no limit.
	BulkRate int
	// MaxMessage bounds a gRPC message, in bytes; 0 = 16 MiB.
	MaxMessage int

	Now     func() time.Time // the clock that Offset compares; nil = time.Now
	Log     *slog.Logger     // nil discards
	Metrics prometheus.Registerer
}

// TLSFiles are the paths of PEM files. They are read again when they change.
type TLSFiles struct {
	Cert, Key string // this node's certificate with its chain, and its key
	CA        string // bundle that the certificates of all nodes are to be verified with
}

// A Link is a node's end of its connections with the other nodes.
type Link struct {
	config Config
	server *grpc.Server
}

var errNotYet = errors.New("link: not implemented yet")

// Open checks the configuration and reads the certificates. It opens no port.
func Open(c Config) (*Link, error) {
	return &Link{config: c, server: grpc.NewServer()}, nil
}

// Server returns where gRPC services are registered, before Start.
func (l *Link) Server() grpc.ServiceRegistrar { return l.server }

// Start opens the port and begins to connect to the peers.
func (l *Link) Start() error { return errNotYet }

// Addr returns the address that the port is open at, nil before Start.
func (l *Link) Addr() net.Addr { return nil }

// Close ends all connections and transports, and returns when no goroutine is left.
func (l *Link) Close() error { return nil }

// SetCluster says which cluster this node belongs to from now on. It must not change
// once it is set.
func (l *Link) SetCluster(cluster string) {}

// SetPeers says which nodes there are. Those that are no longer among them are
// disconnected. This node may be among them.
func (l *Link) SetPeers(peers []Peer) {}

// State returns the state of a peer, 0 if it was never connected or is no peer.
func (l *Link) State(node NodeID) PeerState { return 0 }

// MaxStatus bounds a status, in bytes.
const MaxStatus = 64<<10 - 1

// SetStatus sets what all peers are told at once, and on connecting. The slice is the
// Link's from then on. A status larger than MaxStatus is an error.
func (l *Link) SetStatus(status []byte) error { return nil }

// Offset returns the median of the peers' clocks against this node's, positive if they
// are ahead, and of how many peers.
func (l *Link) Offset() (median time.Duration, peers int) { return 0, 0 }

// Conn returns the gRPC connection to a peer. Calls fail with codes.Unavailable while
// the peer is not connected. Messages are []byte, see Codec.
func (l *Link) Conn(node NodeID) grpc.ClientConnInterface { return unconnected{} }

type unconnected struct{}

func (unconnected) Invoke(context.Context, string, any, any, ...grpc.CallOption) error {
	return status.Error(codes.Unavailable, errNotYet.Error())
}

func (unconnected) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, status.Error(codes.Unavailable, errNotYet.Error())
}

// Dial connects to a node that need not be a peer, as one that joins does.
func (l *Link) Dial(ctx context.Context, address string) (*grpc.ClientConn, Identity, error) {
	return nil, Identity{}, errNotYet
}

// PeerOf returns who calls, for a handler of a service.
func PeerOf(ctx context.Context) (Identity, bool) { return Identity{}, false }

// Transport makes the transport of this node's replica of a Raft group. The name is
// the same at all nodes; local is the replica's server ID, which is its address too.
// locate says at which node another replica is, asked at each dial.
func (l *Link) Transport(group string, local raft.ServerID, locate func(raft.ServerID) (NodeID, bool)) (*Transport, error) {
	return nil, errNotYet
}

// A Transport carries the RPCs of one replica. It implements raft.Transport.
type Transport struct {
	raft.Transport
}

var (
	_ raft.Transport   = (*Transport)(nil)
	_ raft.WithClose   = (*Transport)(nil)
	_ raft.WithPreVote = (*Transport)(nil)
)

// Close ends the transport. From then on nothing is sent and nothing answered,
// heartbeats neither.
func (t *Transport) Close() error { return nil }

func (t *Transport) RequestPreVote(id raft.ServerID, target raft.ServerAddress, args *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	return errNotYet
}

// Gate stops what a leader sends to its followers, heartbeats too, until it is opened
// again with false: calls wait.
func (t *Transport) Gate(shut bool) {}

// A Progress is what a follower is known to have.
type Progress struct {
	Term    uint64    // of the leader that it was learnt as
	Matched uint64    // last index that it has, as of its last answer to AppendEntries or InstallSnapshot
	Moved   time.Time // when Matched last changed
	Heard   time.Time // when it last answered anything
}

// Progress returns what a follower is known to have, reports false if it has not
// answered yet.
func (t *Transport) Progress(follower raft.ServerID) (Progress, bool) { return Progress{}, false }

// Campaign has this replica, which must be a voter, stand for election at once, as a TimeoutNow of a
// leader would.
func (t *Transport) Campaign(ctx context.Context) error { return errNotYet }

// TakeOver calls Campaign when it is this node's turn after the leader's process has
// ended: at once if no other node with a voter that is connected has a lower ID, 100 ms
// later for each that has. It does nothing if a leader has been heard of by then.
func (t *Transport) TakeOver(ctx context.Context, voters []raft.ServerID) error { return errNotYet }
