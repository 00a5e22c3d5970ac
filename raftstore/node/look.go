package node

import (
	"context"
	"encoding/json"
	"errors"
	"sync"

	"github.com/belfry-im/belfry/raftstore/link"
	"github.com/belfry-im/belfry/raftstore/placement"
	"github.com/belfry-im/belfry/raftstore/store"
)

// A LookFunc answers what an operator asks about what one node alone knows, such as its
// sessions. Request and answer are JSON; what they mean is the edge's.
type LookFunc func(ctx context.Context, request []byte) (answer []byte, err error)

// OnLook sets what answers Look at this node. Until then it is unavailable.
func (n *Node) OnLook(f LookFunc) { n.looks.Store(&f) }

func (n *Node) lookHere(ctx context.Context, request []byte) ([]byte, error) {
	if f := n.looks.Load(); f != nil {
		return (*f)(ctx, request)
	}
	return nil, store.Unavailable(store.DefaultRetryAfter, "the node is starting")
}

// errLost says that a node is not connected.
var errLost = errors.New("not connected")

// Look asks all nodes of the cluster at once, this one too, and calls each for one answer
// at a time: with the node's name, and an error if it is not connected or does not answer
// until ctx ends. It returns when all have answered or failed.
func (n *Node) Look(ctx context.Context, request []byte, each func(node string, answer []byte, err error)) {
	var mu sync.Mutex
	var calls sync.WaitGroup
	take := func(node string, answer []byte, err error) {
		mu.Lock()
		defer mu.Unlock()
		each(node, answer, err)
	}
	m := n.group.Map()
	for i := range m.Nodes {
		id, name := m.Nodes[i].ID, m.Nodes[i].Name
		switch {
		case id == n.data.Node():
		case n.link.State(link.NodeID(id)) != link.Connected:
			take(name, nil, errLost)
		default:
			calls.Go(func() {
				answer, err := n.askLook(ctx, id, request)
				take(name, answer, err)
			})
		}
	}
	answer, err := n.lookHere(ctx, request)
	take(n.name, answer, err)
	calls.Wait()
}

func (n *Node) askLook(ctx context.Context, id placement.NodeID, request []byte) (answer json.RawMessage, err error) {
	err = n.ask(ctx, id, methodLook, json.RawMessage(request), &answer)
	return answer, err
}
