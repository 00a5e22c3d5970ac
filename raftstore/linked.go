package raftstore

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/belfry-im/belfry/raftstore/link"
	"github.com/belfry-im/belfry/raftstore/placement"
	"github.com/belfry-im/belfry/raftstore/replica"
	"google.golang.org/grpc"
)

// OverLink returns l as a Store uses it. Whoever makes l has to pass what its OnStatus
// and OnPeer are told to Store.PeerStatus, PeerConnected and PeerLost.
func OverLink(l *link.Link) Link { return linked{l} }

type linked struct{ link *link.Link }

func (l linked) Server() grpc.ServiceRegistrar { return l.link.Server() }

func (l linked) Conn(node placement.NodeID) grpc.ClientConnInterface {
	return l.link.Conn(link.NodeID(node))
}

func (l linked) Caller(ctx context.Context) (placement.NodeID, error) {
	id, ok := link.PeerOf(ctx)
	if !ok || !id.Known {
		return "", fmt.Errorf("raftstore: %s is no node of this cluster", id.Name)
	}
	return placement.NodeID(id.ID), nil
}

func (l linked) Connected(node placement.NodeID) bool {
	return l.link.State(link.NodeID(node)) == link.Connected
}

func (l linked) SetStatus(status []byte) error { return l.link.SetStatus(status) }

func (l linked) Offset() (median time.Duration, nodes int) { return l.link.Offset() }

func (l linked) Replicate(shard uint32, id string, locate func(id string) (placement.NodeID, bool)) Replication {
	var current atomic.Pointer[link.Transport]
	at := func(id replica.ServerID) (link.NodeID, bool) {
		node, ok := locate(string(id))
		return link.NodeID(node), ok
	}
	return Replication{
		Transport: replica.Transports(id, func() (*link.Transport, error) {
			t, err := l.link.Transport(fmt.Sprintf("shard-%d", shard), replica.ServerID(id), at)
			if err == nil {
				current.Store(t)
			}
			return t, err
		}),
		TakeOver: func(ctx context.Context, voters []string) error {
			t := current.Load()
			if t == nil {
				return errors.New("raftstore: the replica is not open")
			}
			ids := make([]replica.ServerID, len(voters))
			for i, id := range voters {
				ids[i] = replica.ServerID(id)
			}
			return t.TakeOver(ctx, ids)
		},
	}
}
