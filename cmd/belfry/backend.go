package main

import (
	"context"
	"io"

	"github.com/belfry-im/belfry/gateway/admin"
	"github.com/belfry-im/belfry/gateway/inspect"
	"github.com/belfry-im/belfry/raftstore"
	"github.com/belfry-im/belfry/raftstore/node"
)

// A backend is the store of a node that stands alone, or of one of several.
type backend struct {
	io.Closer
	store   *raftstore.Store
	cluster admin.Cluster   // nil if the node stands alone
	node    *node.Node      // the same one
	ready   func() error    // why it does not serve yet
	failed  <-chan struct{} // closed when it cannot go on
	failure func() error    // why
}

// openBackend opens the store, with a node around it if cluster is not nil.
func openBackend(config raftstore.Config, cluster *node.Config) (*backend, error) {
	if cluster == nil {
		s, err := raftstore.Open(config)
		if err != nil {
			return nil, err
		}
		return &backend{Closer: s, store: s, ready: s.Ready}, nil
	}
	n, err := node.Open(config, *cluster)
	if err != nil {
		return nil, err
	}
	return &backend{Closer: n, store: n.Store(), cluster: n, node: n, ready: n.Ready, failed: n.Failed(), failure: n.Failure}, nil
}

// inspected returns what the node tells of itself and, in a cluster, what it asks the others
// with.
func (b *backend) inspected(name string, settings []inspect.Setting) *inspect.Local {
	l := inspect.New(name)
	l.Settings, l.View = settings, b.store.View
	if b.node != nil {
		l.Peers = b.node
		b.node.OnLook(l.Answer)
	}
	return l
}

// safeToStop returns gateway.Config.SafeToStop.
func (b *backend) safeToStop() func(context.Context) ([]string, error) {
	if b.cluster == nil {
		return nil
	}
	return func(ctx context.Context) ([]string, error) {
		s, err := b.cluster.Status(ctx)
		if err != nil {
			return nil, err
		}
		// Nothing needs a node that takes no part.
		if self := s.Node(s.Asked); self == nil || !self.Admitted {
			return nil, nil
		}
		return s.Obstacles([]string{s.Asked}), nil
	}
}
