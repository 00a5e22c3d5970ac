package placement

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/hashicorp/raft"
	"google.golang.org/grpc"

	"github.com/belfry-im/belfry/raftstore/link"
)

// raftGroup is the name of placement's Raft group at a link.
const raftGroup = "placement"

// serviceName is that of placement's gRPC service; its methods are those of Group.handle.
const serviceName = "belfry.Placement"

// OverLink returns the Network that l is. It has to be called before l.Start.
func OverLink(l *link.Link) Network {
	n := &overLink{link: l}
	desc := grpc.ServiceDesc{ServiceName: serviceName, HandlerType: (*any)(nil)}
	for _, method := range []string{methodHello, methodJoin, methodPropose, methodMap, methodProbe} {
		desc.Methods = append(desc.Methods, grpc.MethodDesc{MethodName: method, Handler: n.handler(method)})
	}
	l.Server().RegisterService(&desc, n)
	return n
}

type overLink struct {
	link   *link.Link
	handle atomic.Pointer[func(context.Context, string, []byte) ([]byte, error)]
}

var errNotServing = errors.New("placement: not serving yet")

func (n *overLink) handler(method string) grpc.MethodHandler {
	return func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		var request []byte
		if err := decode(&request); err != nil {
			return nil, err
		}
		handle := n.handle.Load()
		if handle == nil {
			return nil, errNotServing
		}
		if peer, ok := link.PeerOf(ctx); ok {
			ctx = withCaller(ctx, NodeID(peer.ID))
		}
		answer, err := (*handle)(ctx, method, request)
		if err != nil {
			return nil, err
		}
		return answer, nil
	}
}

func (n *overLink) Serve(handle func(context.Context, string, []byte) ([]byte, error)) {
	n.handle.Store(&handle)
}

func (n *overLink) Call(ctx context.Context, node NodeID, method string, request []byte) ([]byte, error) {
	return invoke(ctx, n.link.Conn(link.NodeID(node)), method, request)
}

func (n *overLink) CallAddress(ctx context.Context, address, method string, request []byte) ([]byte, error) {
	conn, _, err := n.link.Dial(ctx, address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return invoke(ctx, conn, method, request)
}

func invoke(ctx context.Context, conn grpc.ClientConnInterface, method string, request []byte) ([]byte, error) {
	var answer []byte
	err := conn.Invoke(ctx, "/"+serviceName+"/"+method, request, &answer)
	return answer, err
}

func (n *overLink) SetNodes(cluster string, nodes []Node) {
	n.link.SetCluster(cluster)
	peers := make([]link.Peer, 0, len(nodes))
	for _, node := range nodes {
		if node.Address != "" {
			peers = append(peers, link.Peer{ID: link.NodeID(node.ID), Name: node.Name, Address: node.Address})
		}
	}
	n.link.SetPeers(peers)
}

func (n *overLink) Transport(local NodeID) (raft.Transport, error) {
	// A server's ID is that of its node.
	locate := func(id raft.ServerID) (link.NodeID, bool) { return link.NodeID(id), true }
	t, err := n.link.Transport(raftGroup, raft.ServerID(local), locate)
	if err != nil {
		return nil, err
	}
	return t, nil
}
