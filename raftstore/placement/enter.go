package placement

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// foundEvery is the pause between rounds of founding, joinEvery that between
	// attempts to join, callTimeout bounds a call of either.
	foundEvery  = 250 * time.Millisecond
	joinEvery   = time.Second
	callTimeout = 3 * time.Second
)

// A hello says who a node is and what it knows of the founding of a cluster.
type hello struct {
	Join
	Start   string `json:"start"`
	Cluster string `json:"cluster,omitempty"`
	// Of a node that is to found a cluster: how many are to, all of their addresses in
	// order, and the IDs of all as of its last round, none if it has not reached all.
	Expect    int      `json:"expect,omitempty"`
	Addresses []string `json:"addresses,omitempty"`
	View      []NodeID `json:"view,omitempty"`
	// Founders are those that it has founded a cluster with. Founded: there are some, and
	// the caller is none of them.
	Founders []Join `json:"founders,omitempty"`
	Founded  bool   `json:"founded,omitempty"`
}

// hello answers methodHello. Who founded the cluster is told to those who did.
func (g *Group) hello(ctx context.Context, _ hello) (hello, error) {
	h := g.ownHello()
	caller, _ := ctx.Value(callerKey{}).(NodeID)
	if !g.insider(ctx) && !slices.ContainsFunc(h.Founders, func(f Join) bool { return f.ID == caller }) {
		h.Founders, h.Founded = nil, h.Founders != nil
	}
	return h, nil
}

func (g *Group) ownHello() hello {
	g.mu.Lock()
	defer g.mu.Unlock()
	h := hello{Join: g.self(), Start: g.start, Cluster: g.m.Cluster, Founders: g.founders}
	if h.Cluster == "" && h.Founders == nil && g.cfg.Expect > 0 {
		h.Expect, h.Addresses, h.View = g.cfg.Expect, g.addresses(), g.view
	}
	return h
}

// others returns the addresses of --join but for this node's own.
func (g *Group) others() []string {
	others := slices.Clone(g.cfg.Join)
	slices.Sort(others)
	others = slices.Compact(others)
	return slices.DeleteFunc(others, func(a string) bool { return a == g.cfg.Node.Address })
}

// addresses returns the addresses of all nodes that are to found a cluster.
func (g *Group) addresses() []string {
	all := append(g.others(), g.cfg.Node.Address)
	slices.Sort(all)
	return all
}

// enter makes this node part of a cluster: it founds one, or joins one, or tells the
// one that it belongs to where it is now.
func (g *Group) enter() {
	if g.Map().Cluster == "" && g.founders == nil && (g.cfg.Expect > 0 || g.cfg.Solo) {
		if err := g.found(); err != nil {
			g.end(err)
			return
		}
	}
	g.join()
}

// found founds a cluster together with the nodes at all other addresses, and returns
// once it has, or once there is one to join.
//
// The rule is: a node founds a cluster with a set of nodes when in one round every one
// of the Expect addresses has answered, none of them knew of a cluster, all listed the
// same addresses, and all had found the same set in their own last round; or when one
// of them has founded with a set that this node is in. It never does so twice. All
// founders give Raft this set as its first configuration, so nothing is decided without
// a majority of it. Two clusters would need two majorities of two sets at the same
// addresses, and so more nodes than there are addresses: a partition cannot make them,
// nor can any order of starting.
func (g *Group) found() error {
	for {
		set, err := g.round()
		if err != nil {
			return err
		}
		if set != nil {
			return g.establish(set)
		}
		if g.Map().Cluster != "" || !g.sleep(foundEvery) {
			return nil
		}
	}
}

// round asks all other founders once, and returns the set to found the cluster with,
// nil if it is too early.
func (g *Group) round() ([]Join, error) {
	others := g.others()
	answers := make([]hello, len(others))
	errs := make([]error, len(others))
	var calls sync.WaitGroup
	for i, address := range others {
		calls.Go(func() {
			ctx, cancel := context.WithTimeout(g.ctx, callTimeout)
			defer cancel()
			answers[i], errs[i] = call[hello](ctx, g, "", address, methodHello, g.ownHello())
		})
	}
	calls.Wait()

	self := g.self()
	set, views := []Join{self}, 0
	var waits []string
	for i, h := range answers {
		if errs[i] != nil {
			waits = append(waits, fmt.Sprintf("%s does not answer (%v)", others[i], errs[i]))
			continue
		}
		if h.ID == self.ID && h.Start != g.start {
			return nil, fmt.Errorf("%w (it is at %s)", ErrDuplicate, others[i])
		}
		if slices.ContainsFunc(h.Founders, func(f Join) bool { return f.ID == self.ID }) {
			return h.Founders, nil
		}
		if reason := g.cannotFound(others[i], h); reason != "" {
			waits = append(waits, reason)
			continue
		}
		set = append(set, h.Join)
	}
	slices.SortFunc(set, func(a, b Join) int { return cmp.Compare(a.ID, b.ID) })
	view := make([]NodeID, len(set))
	for i := range set {
		view[i] = set[i].ID
	}
	names := map[string]bool{}
	for i := range set {
		if names[set[i].Name] {
			waits = append(waits, fmt.Sprintf("two nodes are named %s", set[i].Name))
		}
		names[set[i].Name] = true
	}
	if len(waits) > 0 || len(slices.Compact(slices.Clone(view))) != g.founderCount() {
		view = nil
	}
	for _, h := range answers {
		if view != nil && slices.Equal(h.View, view) {
			views++
		}
	}
	g.mu.Lock()
	g.view = view
	g.mu.Unlock()
	if view != nil && views == len(others) {
		return set, nil
	}
	if len(waits) > 0 {
		g.wait("%d nodes to found a cluster: %s", g.founderCount(), strings.Join(waits, ", "))
	}
	return nil, nil
}

// founderCount returns how many nodes are to found the cluster.
func (g *Group) founderCount() int { return max(1, g.cfg.Expect) }

// cannotFound returns why the node that answered at address is not one to found a
// cluster with, "" if it is.
func (g *Group) cannotFound(address string, h hello) string {
	switch {
	case h.Cluster != "":
		// There is a cluster, so this node has to join it.
		return strings.TrimSuffix(fmt.Sprintf("%s is in a cluster already: %s", address, g.joinVia(address).reason), ": ")
	case h.Founders != nil || h.Founded:
		return fmt.Sprintf("%s has founded a cluster without this node", address)
	case h.Address != address:
		return fmt.Sprintf("%s says that its address is %s", address, h.Address)
	case h.Expect != g.cfg.Expect:
		return fmt.Sprintf("%s was started with --bootstrap-expect %d", address, h.Expect)
	case !slices.Equal(h.Addresses, g.addresses()):
		return fmt.Sprintf("%s was started for the nodes %s", address, strings.Join(h.Addresses, ", "))
	}
	return ""
}

// establish notes the set of founders for good, and starts Raft with it.
func (g *Group) establish(set []Join) error {
	data, err := json.Marshal(set)
	if err != nil {
		return err
	}
	g.cfg.Hold()
	if err := writeFile(filepath.Join(g.cfg.Dir, "founders.json"), data); err != nil {
		return err
	}
	g.mu.Lock()
	g.founders = set
	g.mu.Unlock()
	g.tellNodes()
	g.log.Info("founding a cluster", "nodes", len(set))
	return g.openMember(saysNothing)
}

// join asks the cluster to take this node, or tells it of its new address, until a
// node of it has answered and the map has this node as it is.
func (g *Group) join() {
	refused := false
	for {
		var done bool
		done, refused = g.joinOnce(refused)
		if done || !g.sleep(joinEvery) {
			return
		}
	}
}

// joinOnce asks once, and reports whether all is done, and whether the cluster has refused
// this node as it is, as it did when it was asked before if wasRefused.
func (g *Group) joinOnce(wasRefused bool) (done, refused bool) {
	m := g.Map()
	if n := m.Node(g.cfg.Node.ID); n != nil && !wasRefused {
		if !n.Admitted {
			g.wait("an administrator to admit it: belfry cluster admit %s", n.Name)
		} else {
			g.wait("")
		}
	}
	reasons := map[string]bool{}
	for _, t := range g.known() {
		a := g.joinVia(t.address)
		if a.taken {
			n := g.Map().Node(g.cfg.Node.ID)
			admitted := n != nil && n.Admitted
			if admitted {
				g.wait("")
			}
			return admitted, false
		}
		if a.refused && !refused {
			refused = true
			clear(reasons) // that counts more than who does not answer
		}
		if a.reason != "" && a.refused == refused {
			reasons[a.reason] = true
		}
	}
	if refused || m.Node(g.cfg.Node.ID) == nil && g.founders == nil {
		g.wait("the cluster to take it: %s", strings.Join(slices.Sorted(maps.Keys(reasons)), "; "))
	}
	// A cluster of which nobody else is known knows this node well enough.
	if n := g.Map().Node(g.cfg.Node.ID); n != nil && len(g.known()) == 0 {
		g.wait("")
		return true, false
	}
	return false, refused
}

// A target is a node of the cluster, as far as is known.
type target struct {
	node    NodeID // "" for an address of --join
	address string
}

// known returns where there may be nodes of the cluster.
func (g *Group) known() []target {
	var list []target
	m := g.Map()
	for i := range m.Nodes {
		if n := &m.Nodes[i]; n.Address != "" && n.ID != g.cfg.Node.ID {
			list = append(list, target{n.ID, n.Address})
		}
	}
	for _, address := range g.others() {
		if !slices.ContainsFunc(list, func(t target) bool { return t.address == address }) {
			list = append(list, target{address: address})
		}
	}
	return list
}

// A joining is what came of asking to be taken.
type joining struct {
	taken   bool   // the cluster has this node as it is
	refused bool   // by the cluster, so that another node would say the same
	reason  string // why it is not taken
}

// joinVia asks the node at an address.
func (g *Group) joinVia(address string) joining {
	ctx, cancel := context.WithTimeout(g.ctx, callTimeout)
	defer cancel()
	a, err := call[joinAnswer](ctx, g, "", address, methodJoin, joinRequest{Join: g.self(), Start: g.start})
	switch {
	case err != nil:
		g.log.Debug("a node that was asked to join does not answer", "address", address, "err", err)
		return joining{reason: fmt.Sprintf("%s does not answer (%v)", address, err)}
	case a.Duplicate != "":
		g.end(fmt.Errorf("%w (it is at %s)", ErrDuplicate, a.Duplicate))
		return joining{}
	case a.Refusal != nil && a.Refusal.Removed:
		g.end(fmt.Errorf("%w: %s", ErrRemoved, a.Refusal.Rule))
		return joining{}
	case a.Refusal != nil:
		return joining{refused: true, reason: a.Refusal.Error()}
	case len(a.Map) == 0:
		return joining{reason: address + " is not in a cluster yet"}
	}
	m, err := DecodeMap(a.Map)
	if err != nil {
		return joining{reason: address + ": " + err.Error()}
	}
	g.publish(m)
	n := g.Map().Node(g.cfg.Node.ID)
	return joining{taken: n != nil}
}

// copyPatience bounds how long a start looks for a process that has a copy of its files.
const copyPatience = 2 * time.Second

// checkCopy returns ErrDuplicate if another node of the cluster knows of a process that
// runs as this node. It looks before this one can vote; if nobody answers in time, join
// finds out later.
func (g *Group) checkCopy() error {
	if g.Map().Node(g.cfg.Node.ID) == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(g.ctx, copyPatience)
	defer cancel()
	known := g.known()
	answered := make(chan string, len(known))
	for _, t := range known {
		g.runs.Go(func() {
			a, err := call[joinAnswer](ctx, g, "", t.address, methodJoin, joinRequest{Join: g.self(), Start: g.start, Look: true})
			if err != nil {
				a.Duplicate = ""
			}
			answered <- a.Duplicate
			if err == nil {
				cancel()
			}
		})
	}
	for range known {
		if at := <-answered; at != "" {
			return fmt.Errorf("%w (it is at %s)", ErrDuplicate, at)
		}
	}
	return nil
}

// joined handles methodJoin: it takes the node into the map. A node can only join as the
// one that the link knows it to be: else whoever is not admitted could give one that is
// another name, and with that pass for it.
func (g *Group) joined(ctx context.Context, r joinRequest) (joinAnswer, error) {
	if caller, _ := ctx.Value(callerKey{}).(NodeID); caller != r.ID {
		return joinAnswer{Refusal: refuse("id", "node %q cannot join as %q", caller, r.ID)}, nil
	}
	m := g.Map()
	if r.ID == g.cfg.Node.ID && r.Start != g.start {
		return joinAnswer{Duplicate: g.cfg.Node.Address}, nil
	}
	if m.Cluster == "" {
		return joinAnswer{}, nil
	}
	known := m.Node(r.ID)
	if known != nil && known.Address != "" && known.Name != r.Name {
		return joinAnswer{Refusal: refuse("name", "node %s is %q, not %q: start it with --node %s", r.ID, known.Name, r.Name, known.Name)}, nil
	}
	if known != nil && known.Address != "" && known.Address != r.Address {
		h, err := call[hello](ctx, g, "", known.Address, methodHello, g.ownHello())
		if err == nil && h.ID == r.ID && h.Start != r.Start {
			return joinAnswer{Duplicate: known.Address}, nil
		}
	}
	if r.Look {
		return joinAnswer{}, nil
	}
	if known == nil || known.Name != r.Name || known.Address != r.Address || known.Roles != r.Roles {
		next, err := g.Propose(ctx, &r.Join)
		if refusal, ok := errors.AsType[*Refusal](err); ok {
			return joinAnswer{Refusal: refusal}, nil
		}
		if err != nil {
			return joinAnswer{}, err
		}
		m = next
	}
	if n := m.Node(r.ID); g.cfg.AutoAdmit && n != nil && !n.Admitted && !n.Leaving {
		next, err := g.Propose(ctx, &Admit{Node: r.ID})
		if err != nil {
			return joinAnswer{}, err
		}
		m = next
	}
	if n := m.Node(r.ID); n == nil || !n.Admitted {
		if m = m.forOutsider(r.ID); m == nil {
			return joinAnswer{}, errOutsider
		}
	}
	data, err := EncodeMap(m)
	return joinAnswer{Map: data}, err
}

// follow asks other nodes for newer maps, unless Raft brings them. If none of them lets
// this node ask, it finds out whether it was removed.
func (g *Group) follow() {
	failed := 0 // in a row
	for turn := 0; ; turn++ {
		if g.ctx.Err() != nil {
			return
		}
		if m := g.running(); m != nil && !m.hang.is() {
			if _, leader := m.raft.LeaderWithID(); leader != "" {
				if !g.sleep(g.cfg.tick) {
					return
				}
				continue
			}
		}
		known := g.known()
		if g.Map().Cluster == "" || len(known) == 0 {
			if !g.sleep(g.cfg.tick) {
				return
			}
			continue
		}
		if g.followOnce(known[turn%len(known)]) {
			failed = 0
			continue
		}
		if failed++; failed >= len(known) {
			g.joinVia(known[turn%len(known)].address)
		}
		if !g.sleep(joinEvery / time.Duration(len(known))) {
			return
		}
	}
}

// followOnce waits for a newer map from a node, and reports whether that has answered.
func (g *Group) followOnce(t target) bool {
	ctx, cancel := context.WithTimeout(g.ctx, mapPatience+callTimeout)
	defer cancel()
	request, err := json.Marshal(mapRequest{After: g.Map().Version})
	if err != nil {
		return false
	}
	var data []byte
	if t.node != "" {
		data, err = g.cfg.Network.Call(ctx, t.node, methodMap, request)
	} else {
		data, err = g.cfg.Network.CallAddress(ctx, t.address, methodMap, request)
	}
	if err != nil || len(data) == 0 {
		return err == nil
	}
	m, err := DecodeMap(data)
	if err != nil {
		g.log.Error("a map cannot be read", "from", t.address, "err", err)
		return false
	}
	g.publish(m)
	return true
}
