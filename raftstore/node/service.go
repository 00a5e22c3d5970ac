package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/belfry-im/belfry/raftstore"
	"github.com/belfry-im/belfry/raftstore/link"
	"github.com/belfry-im/belfry/raftstore/placement"
)

// What nodes ask each other about themselves; requests and answers are JSON.
const (
	serviceName    = "belfry.Node"
	methodReport   = "report"   // {} → report
	methodTransfer = "transfer" // transferRequest → {}
	methodLook     = "look"     // what the edge asks of all nodes → what it answers
)

// A report is what a node says of itself.
type report struct {
	raftstore.Report
	Voters []placement.NodeID `json:"voters,omitempty"` // of placement, from its leader
	Leader placement.NodeID   `json:"leader,omitempty"` // of placement, as far as it knows
}

type transferRequest struct {
	Shard uint32           `json:"shard"`
	To    placement.NodeID `json:"to"`
}

// register adds the service to the link, before that starts.
func (n *Node) register() {
	desc := grpc.ServiceDesc{ServiceName: serviceName, HandlerType: (*any)(nil)}
	add := func(method string, handle func(context.Context, []byte) (any, error)) {
		desc.Methods = append(desc.Methods, grpc.MethodDesc{MethodName: method, Handler: func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			var request []byte
			if err := decode(&request); err != nil {
				return nil, err
			}
			if peer, ok := link.PeerOf(ctx); !ok || !peer.Known {
				return nil, status.Error(codes.PermissionDenied, "not a node of this cluster")
			}
			if !n.open.Load() {
				return nil, status.Error(codes.Unavailable, "the node is starting")
			}
			answer, err := handle(ctx, request)
			if err != nil {
				return nil, err
			}
			return json.Marshal(answer)
		}})
	}
	add(methodReport, func(context.Context, []byte) (any, error) { return n.report(), nil })
	add(methodTransfer, func(ctx context.Context, request []byte) (any, error) {
		var r transferRequest
		if err := json.Unmarshal(request, &r); err != nil {
			return nil, err
		}
		return struct{}{}, n.Store().Transfer(ctx, r.Shard, r.To)
	})
	add(methodLook, func(ctx context.Context, request []byte) (any, error) {
		answer, err := n.lookHere(ctx, request)
		return json.RawMessage(answer), err
	})
	n.link.Server().RegisterService(&desc, n)
}

// report tells how this node does.
func (n *Node) report() report {
	r := report{Report: n.Store().Report()}
	r.Leader, r.Voters = n.group.Leader()
	return r
}

// ask calls another node.
func (n *Node) ask(ctx context.Context, node placement.NodeID, method string, request, answer any) error {
	data, err := json.Marshal(request)
	if err != nil {
		return err
	}
	var reply []byte
	if err := n.link.Conn(link.NodeID(node)).Invoke(ctx, "/"+serviceName+"/"+method, data, &reply); err != nil {
		if s, ok := status.FromError(err); ok && s.Code() == codes.Unknown {
			return errors.New(s.Message()) // what the other node's function returned
		}
		return err
	}
	if err := json.Unmarshal(reply, answer); err != nil {
		return fmt.Errorf("node: answer to %s: %w", method, err)
	}
	return nil
}
