package link

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/mem"
	grpcpeer "google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

const (
	// maxStreams bounds the calls that one connection of a peer has open; further ones
	// wait at the caller.
	maxStreams = 4096
	// The control connection notices a frozen peer sooner. These are for connections
	// with nodes that are no peers.
	rpcQuiet   = 10 * time.Second
	rpcTimeout = 5 * time.Second
)

// Codec passes messages through: they are []byte or mem.BufferSlice to be sent, and
// *[]byte or *mem.BufferSlice to be received. A sent []byte must not be changed any more;
// a sent mem.BufferSlice stays the sender's to free. A received []byte is the receiver's;
// a received mem.BufferSlice has to be freed by it.
type Codec struct{}

var _ encoding.CodecV2 = Codec{}

func (Codec) Name() string { return "belfry" }

func (Codec) Marshal(v any) (mem.BufferSlice, error) {
	switch v := v.(type) {
	case []byte:
		return mem.BufferSlice{mem.SliceBuffer(v)}, nil
	case *[]byte:
		return mem.BufferSlice{mem.SliceBuffer(*v)}, nil
	case mem.BufferSlice:
		v.Ref() // gRPC frees what it is given
		return v, nil
	case *mem.BufferSlice:
		v.Ref()
		return *v, nil
	}
	return nil, fmt.Errorf("link: cannot send a %T, want []byte or mem.BufferSlice", v)
}

func (Codec) Unmarshal(data mem.BufferSlice, v any) error {
	switch v := v.(type) {
	case *[]byte:
		*v = data.Materialize()
	case *mem.BufferSlice:
		data.Ref()
		*v = data
	default:
		return fmt.Errorf("link: cannot receive a %T, want *[]byte or *mem.BufferSlice", v)
	}
	return nil
}

func (l *Link) newServer() *grpc.Server {
	return grpc.NewServer(
		grpc.Creds(rpcCreds{}),
		grpc.ForceServerCodecV2(Codec{}),
		grpc.MaxRecvMsgSize(l.config.MaxMessage),
		grpc.MaxSendMsgSize(l.config.MaxMessage),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.ConnectionTimeout(l.config.Handshake),
		grpc.WaitForHandlers(true),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: rpcQuiet, Timeout: rpcTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: rpcQuiet / 2, PermitWithoutStream: true}),
	)
}

// newClient makes a connection that dial makes when it is needed.
func (l *Link) newClient(name string, dial func(context.Context, string) (net.Conn, error)) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+name,
		grpc.WithContextDialer(dial),
		grpc.WithTransportCredentials(rpcCreds{}),
		grpc.WithDisableServiceConfig(),
		grpc.WithIdleTimeout(0),
		grpc.WithDefaultCallOptions(
			grpc.ForceCodecV2(Codec{}),
			grpc.MaxCallRecvMsgSize(l.config.MaxMessage),
			grpc.MaxCallSendMsgSize(l.config.MaxMessage),
		),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: rpcQuiet, Timeout: rpcTimeout, PermitWithoutStream: true}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: dialPauseMin, Multiplier: 2, Jitter: 0.5, MaxDelay: dialPauseMax},
			MinConnectTimeout: l.config.Handshake,
		}),
	)
}

// rpcCreds tell gRPC who is at the other end of a conn, which knows.
type rpcCreds struct{}

// rpcPeer is what gRPC keeps of the other end.
type rpcPeer struct {
	credentials.CommonAuthInfo
	conn *conn
}

func (rpcPeer) AuthType() string { return "belfry" }

func (rpcCreds) handshake(c net.Conn) (net.Conn, credentials.AuthInfo, error) {
	known, ok := c.(*conn)
	if !ok {
		return nil, nil, fmt.Errorf("link: gRPC on a %T", c)
	}
	level := credentials.NoSecurity
	if known.link.creds != nil {
		level = credentials.PrivacyAndIntegrity
	}
	return c, rpcPeer{CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: level}, conn: known}, nil
}

func (r rpcCreds) ClientHandshake(_ context.Context, _ string, c net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return r.handshake(c)
}

func (r rpcCreds) ServerHandshake(c net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return r.handshake(c)
}

func (rpcCreds) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "belfry"}
}
func (r rpcCreds) Clone() credentials.TransportCredentials { return r }
func (rpcCreds) OverrideServerName(string) error           { return nil }

// PeerOf returns who calls, for a handler of a service.
func PeerOf(ctx context.Context) (Identity, bool) {
	p, ok := grpcpeer.FromContext(ctx)
	if !ok {
		return Identity{}, false
	}
	r, ok := p.AuthInfo.(rpcPeer)
	if !ok {
		return Identity{}, false
	}
	id := r.conn.peer
	known := r.conn.link.peer(id.ID)
	id.Known = known != nil && known.name() == id.Name
	return id, true
}

// A nodeConn is the gRPC connection to a peer, as long as that is one.
type nodeConn struct {
	link *Link
	node NodeID
}

// Conn returns the gRPC connection to a peer. Calls fail at once with codes.Unavailable
// while the peer is not connected, and those that are open fail when it is lost.
// Messages are as Codec takes them.
func (l *Link) Conn(node NodeID) grpc.ClientConnInterface { return nodeConn{l, node} }

func (c nodeConn) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	cc, err := c.client()
	if err != nil {
		return err
	}
	return cc.Invoke(ctx, method, args, reply, opts...)
}

func (c nodeConn) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	cc, err := c.client()
	if err != nil {
		return nil, err
	}
	return cc.NewStream(ctx, desc, method, opts...)
}

func (c nodeConn) client() (*grpc.ClientConn, error) {
	p := c.link.peer(c.node)
	if p == nil {
		return nil, status.Errorf(codes.Unavailable, "link: node %s is not in the map", c.node)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.ctx.Err() != nil:
		return nil, status.Error(codes.Unavailable, errClosed.Error())
	case p.session == nil:
		return nil, status.Errorf(codes.Unavailable, "link: node %s is not connected", p.label)
	case p.client == nil:
		var err error
		if p.client, err = c.link.newClient(string(c.node), p.dialRPC); err != nil {
			return nil, status.Errorf(codes.Internal, "link: node %s: %v", p.label, err)
		}
	}
	return p.client, nil
}

// dialRPC waits until the peer is connected, so that gRPC is not pausing after a failure by
// then: ClientConn.ResetConnectBackoff, which would end the pause, races with gRPC itself.
func (p *peer) dialRPC(ctx context.Context, _ string) (net.Conn, error) {
	for {
		s, changed := p.current()
		if s != nil {
			break
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, errLost
		case <-p.ctx.Done():
			return nil, errLost
		}
	}
	c, err := p.link.dial(ctx, p.target(kindRPC))
	if err != nil {
		return nil, err
	}
	return c, nil
}

// Dial connects to a node that need not be a peer, as one that joins does, and says who
// it is. The connection, which the caller closes, is made again when it breaks, to that
// same node.
func (l *Link) Dial(ctx context.Context, address string) (*grpc.ClientConn, Identity, error) {
	first, err := l.dial(ctx, target{address: address, kind: kindRPC})
	if err != nil {
		return nil, Identity{}, err
	}
	id := first.peer
	p := l.peer(id.ID)
	id.Known = p != nil && p.name() == id.Name
	var made atomic.Pointer[conn]
	made.Store(first)
	cc, err := l.newClient(address, func(ctx context.Context, _ string) (net.Conn, error) {
		if c := made.Swap(nil); c != nil {
			return c, nil
		}
		c, err := l.dial(ctx, target{address: address, id: id.ID, name: id.Name, kind: kindRPC})
		if err != nil {
			return nil, err
		}
		return c, nil
	})
	if err != nil {
		first.Close()
		return nil, Identity{}, err
	}
	cc.Connect()
	return cc, id, nil
}
