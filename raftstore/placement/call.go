package placement

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"
)

// Methods that nodes call at each other; requests and answers are JSON.
const (
	methodHello   = "hello"   // hello → hello: who is there, and is it founding
	methodJoin    = "join"    // joinRequest → joinAnswer
	methodPropose = "propose" // a command → proposeAnswer
	methodMap     = "map"     // mapRequest → a map, once it is newer; empty if there is none for a while
	methodProbe   = "probe"   // probe → probeAnswer: the leader looks how a member does
)

// mapPatience is how long a node waits for a newer map before it answers without.
const mapPatience = 20 * time.Second

type mapRequest struct {
	After uint64 `json:"after"`
}

type joinRequest struct {
	Join
	Start string `json:"start"`          // Group.start of the process
	Look  bool   `json:"look,omitempty"` // only look for a process that runs as this node
}

type joinAnswer struct {
	Refusal   *Refusal        `json:"refusal,omitempty"`
	Duplicate string          `json:"duplicate,omitempty"` // where another process runs as this node
	Map       json.RawMessage `json:"map,omitempty"`
}

type proposeAnswer struct {
	Version   uint64   `json:"version"`
	Refusal   *Refusal `json:"refusal,omitempty"`
	NotLeader bool     `json:"notLeader,omitempty"`
	Leader    NodeID   `json:"leader,omitempty"`
}

// handle answers the calls of other nodes.
func (g *Group) handle(ctx context.Context, method string, request []byte) ([]byte, error) {
	switch method {
	case methodHello:
		return answer(ctx, request, g.hello)
	case methodJoin:
		if !g.insider(ctx) && !g.outsiders.Allow() {
			return nil, errBusy
		}
		return answer(ctx, request, g.joined)
	case methodPropose:
		return answer(ctx, request, g.proposed)
	case methodProbe:
		if !g.insider(ctx) {
			return nil, errOutsider
		}
		return answer(ctx, request, g.probed)
	case methodMap:
		if !g.insider(ctx) && !g.outsiders.Allow() {
			return nil, errBusy
		}
		var r mapRequest
		if err := json.Unmarshal(request, &r); err != nil {
			return nil, fmt.Errorf("placement: %s: %w", method, err)
		}
		ctx, cancel := context.WithTimeout(ctx, mapPatience)
		defer cancel()
		m, err := g.Next(ctx, r.After)
		if errors.Is(err, context.DeadlineExceeded) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		if !g.insider(ctx) { // it may have been admitted meanwhile
			caller, _ := ctx.Value(callerKey{}).(NodeID)
			if m = m.forOutsider(caller); m == nil {
				return nil, errOutsider
			}
		}
		return EncodeMap(m)
	}
	return nil, fmt.Errorf("placement: method %q is not known: this node is older than the one that calls", method)
}

func answer[Q, A any](ctx context.Context, request []byte, handle func(context.Context, Q) (A, error)) ([]byte, error) {
	var q Q
	if err := json.Unmarshal(request, &q); err != nil {
		return nil, fmt.Errorf("placement: %w", err)
	}
	a, err := handle(ctx, q)
	if err != nil {
		return nil, err
	}
	return json.Marshal(a)
}

// call calls a node, at the address if that is not "".
func call[A any](ctx context.Context, g *Group, node NodeID, address, method string, request any) (a A, err error) {
	data, err := json.Marshal(request)
	if err != nil {
		return a, err
	}
	if address != "" {
		data, err = g.cfg.Network.CallAddress(ctx, address, method, data)
	} else {
		data, err = g.cfg.Network.Call(ctx, node, method, data)
	}
	if err != nil {
		return a, err
	}
	if err := json.Unmarshal(data, &a); err != nil {
		return a, fmt.Errorf("placement: answer to %s: %w", method, err)
	}
	return a, nil
}

const (
	proposeFirst = 20 * time.Millisecond // pause before a proposal is tried again, doubled up to proposeMost
	proposeMost  = 500 * time.Millisecond
	proposeTry   = 5 * time.Second // within which one node has to answer a proposal
	// proposeHints is how many nodes in a row are believed who leads before there is a
	// pause: two may take each other for the leader.
	proposeHints = 3
)

// Propose makes a change, through whichever node leads the group, and returns a map
// that shows it once this node has it. It returns a *Refusal if the command is not
// possible. Without a leader it tries until ctx ends; the change may then still be made
// later.
func (g *Group) Propose(ctx context.Context, c Command) (*Map, error) {
	data, err := EncodeCommand(c)
	if err != nil {
		return nil, err
	}
	if n := g.Map().Node(g.cfg.Node.ID); n != nil && !n.Admitted {
		return nil, refuse("node", "%q is not admitted, so it may change nothing", n.Name)
	}
	pause, hints := proposeFirst, 0
	var leader NodeID
	for {
		a := g.proposeOnce(ctx, leader, data)
		switch {
		case a.Refusal != nil:
			return nil, a.Refusal
		case !a.NotLeader:
			if a.Version == 0 {
				return g.Map(), nil
			}
			return g.Next(ctx, a.Version-1)
		}
		if a.Leader != "" && a.Leader != leader && hints < proposeHints {
			leader = a.Leader
			hints++
			continue
		}
		leader, hints = "", 0
		select {
		case <-time.After(pause):
			pause = min(2*pause, proposeMost)
		case <-ctx.Done():
			return nil, fmt.Errorf("placement: no leader was found: %w", ctx.Err())
		case <-g.ctx.Done():
			return nil, g.ended()
		}
	}
}

// proposeOnce proposes at the leader, if it is "" here or at whoever is known to lead,
// or at all who may know better.
func (g *Group) proposeOnce(ctx context.Context, leader NodeID, command []byte) proposeAnswer {
	if leader == "" || leader == g.cfg.Node.ID {
		if a := g.proposeHere(ctx, command); !a.NotLeader || a.Leader != "" && a.Leader != g.cfg.Node.ID {
			return a
		}
	}
	nodes := []NodeID{leader}
	if leader == "" {
		nodes = nodes[:0]
		for i := range g.Map().Nodes {
			nodes = append(nodes, g.Map().Nodes[i].ID)
		}
	}
	best := proposeAnswer{NotLeader: true}
	for _, node := range nodes {
		if node == g.cfg.Node.ID {
			continue
		}
		try, cancel := context.WithTimeout(ctx, proposeTry)
		a, err := call[proposeAnswer](try, g, node, "", methodPropose, json.RawMessage(command))
		cancel()
		if err == nil && !a.NotLeader {
			return a
		}
		if err == nil && a.Leader != "" {
			best.Leader = a.Leader
		}
	}
	return best
}

// Callers that are not admitted may join, and ask whether they were; all of them together
// so often a second, and at most so often at once. More are told to come later.
const outsiderRate, outsiderBurst = 16, 64

var (
	errOutsider = errors.New("placement: the caller is not admitted to this cluster")
	errBusy     = errors.New("placement: too many nodes that are not admitted ask: try again later")
)

// insider reports whether the caller is a node that is admitted, or one that this node
// founds the cluster with.
func (g *Group) insider(ctx context.Context) bool {
	caller, _ := ctx.Value(callerKey{}).(NodeID)
	g.mu.Lock()
	defer g.mu.Unlock()
	if n := g.m.Node(caller); n != nil {
		return n.Admitted
	}
	return g.m.Cluster == "" && slices.ContainsFunc(g.founders, func(f Join) bool { return f.ID == caller })
}

// forOutsider returns what a node that is not admitted is told of the map: that it is
// known, and what all nodes go by; nil if it is not known.
func (m *Map) forOutsider(node NodeID) *Map {
	n := m.Node(node)
	if n == nil || m.Cluster == "" {
		return nil
	}
	return &Map{
		Version: m.Version, Cluster: m.Cluster, Epoch: m.Epoch, Config: m.Config,
		Nodes: []Node{*n}, Shards: []Shard{{}}, Slots: equalSlots(1),
	}
}

type callerKey struct{}

// withCaller notes for Group.handle which node calls.
func withCaller(ctx context.Context, node NodeID) context.Context {
	return context.WithValue(ctx, callerKey{}, node)
}

// proposed handles methodPropose. A node that is not admitted may join, which others
// propose for it, and nothing else: it must not admit itself.
func (g *Group) proposed(ctx context.Context, command json.RawMessage) (proposeAnswer, error) {
	caller, _ := ctx.Value(callerKey{}).(NodeID)
	if n := g.Map().Node(caller); n == nil || !n.Admitted {
		return proposeAnswer{Refusal: refuse("node", "%q is not admitted, so it may change nothing", caller)}, nil
	}
	if _, err := DecodeCommand(command); err != nil {
		return proposeAnswer{}, err
	}
	return g.proposeHere(ctx, command), nil
}

// proposeHere proposes if this node leads, and waits until ctx ends or the disk hangs. It
// may have been committed all the same then; a repeat does no harm.
func (g *Group) proposeHere(ctx context.Context, command []byte) proposeAnswer {
	m := g.running()
	if m == nil {
		return proposeAnswer{NotLeader: true}
	}
	if m.hang.is() { // what Raft knows is from before
		return proposeAnswer{NotLeader: true, Leader: g.followedLeader()}
	}
	if m.raft.State() != raft.Leader {
		_, leader := m.raft.LeaderWithID()
		return proposeAnswer{NotLeader: true, Leader: NodeID(leader)}
	}
	if m = g.proposing(); m == nil {
		return proposeAnswer{NotLeader: true}
	}
	answered := make(chan proposeAnswer, 1)
	go func() {
		defer m.proposals.Done()
		future := m.raft.Apply(command, proposeTry)
		if future.Error() != nil {
			answered <- proposeAnswer{NotLeader: true}
			return
		}
		result := future.Response().(applied)
		answered <- proposeAnswer{Version: result.version, Refusal: result.refusal}
	}()
	select {
	case a := <-answered:
		return a
	case <-m.hang.done():
	case <-ctx.Done():
	case <-g.ctx.Done():
	}
	return proposeAnswer{NotLeader: true}
}
