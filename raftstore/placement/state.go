package placement

import (
	"fmt"
	"slices"
)

// Bounds of a cluster. A command that would pass one is refused.
const (
	MaxNodes    = 64
	MaxShards   = 64
	ReplicasPer = 3 // of a shard, besides those that are leaving
	maxReplicas = 2 * ReplicasPer
	maxWaiting  = 16 // nodes that have joined and are not admitted
	// maxRetired bounds the IDs of removed nodes and replicas that are remembered, so
	// that they are told why they are refused. Past it the oldest are forgotten: theirs
	// are then refused as unknown instead.
	maxRetired = 10_000
)

// A Refusal says which field of a command broke which rule. The command has changed
// nothing.
type Refusal struct {
	Field string `json:"field"`
	Rule  string `json:"rule"`
	// Removed: the node in that field was removed from the cluster.
	Removed bool `json:"removed,omitempty"`
}

func (r *Refusal) Error() string { return "placement: " + r.Field + ": " + r.Rule }

func refuse(field, rule string, args ...any) *Refusal {
	return &Refusal{Field: field, Rule: fmt.Sprintf(rule, args...)}
}

// A State is the cluster as all voters of the placement group have it. It has no clock
// and does no I/O: the same commands in the same order give the same state everywhere.
// It is not safe for use by several goroutines, but the maps that it returns are.
type State struct {
	published *Map
	retired   retired
}

// retired is what was part of the cluster and must not return.
type retired struct {
	Nodes    []RetiredNode    `json:"nodes"` // the oldest first
	Replicas []RetiredReplica `json:"replicas"`
}

// A RetiredNode was removed from the cluster.
type RetiredNode struct {
	ID   NodeID `json:"id"`
	Name string `json:"name"`
}

// A RetiredReplica was removed from its shard.
type RetiredReplica struct {
	Shard uint32 `json:"shard"`
	ID    string `json:"id"`
}

// NewState returns a state before its Init.
func NewState() *State { return &State{published: &Map{}} }

// Map returns the cluster as it is now.
func (s *State) Map() *Map { return s.published }

// Apply executes the command that was committed at index, which must rise from call to
// call. It returns a *Refusal if the command is not possible, and then leaves the map
// as it was. A command that has no effect, for instance a repeat, is no error.
func (s *State) Apply(index uint64, c Command) error {
	t := &change{Map: *s.published, state: s}
	if err := c.apply(t); err != nil {
		return err
	}
	if t.touched {
		t.Version = index
		s.published = &t.Map
	}
	return nil
}

// A change is a map in the making. Its slices are those of the published map until
// node, shard or their like copy them.
type change struct {
	Map
	state   *State
	touched bool

	ownNodes, ownShards bool
	ownReplicas         [MaxShards]bool
}

// node returns the node with that ID to be changed, or nil.
func (t *change) node(id NodeID) *Node {
	if t.Node(id) == nil {
		return nil
	}
	t.nodes()
	return t.Node(id)
}

// nodes returns the nodes to be changed.
func (t *change) nodes() *[]Node {
	t.touched = true
	if !t.ownNodes {
		t.Nodes, t.ownNodes = slices.Clone(t.Nodes), true
	}
	return &t.Nodes
}

// shards returns the shards to be changed, though not their replicas.
func (t *change) shards() *[]Shard {
	t.touched = true
	if !t.ownShards {
		t.Shards, t.ownShards = slices.Clone(t.Shards), true
	}
	return &t.Shards
}

// shard returns the shard with that ID to be changed with its replicas, or nil.
func (t *change) shard(id uint32) *Shard {
	if t.Shard(id) == nil {
		return nil
	}
	t.shards()
	sh := t.Shard(id)
	if !t.ownReplicas[id] {
		sh.Replicas, t.ownReplicas[id] = slices.Clone(sh.Replicas), true
	}
	return sh
}

// leaveReplica lets a replica leave its shard: at once if it was not made, since then
// it never was a member of the Raft group.
func (t *change) leaveReplica(shard uint32, id string) {
	r := t.shard(shard).Replica(id)
	if r.Made {
		r.Leaving = true
		return
	}
	t.removeReplica(shard, id)
	// A shard that never began because all of its founders have gone begins with another
	// replica.
	sh := t.shard(shard)
	for _, r := range sh.Replicas {
		if slices.Contains(sh.Founders, r.ID) {
			return
		}
	}
	sh.Founders = nil
	if len(sh.Replicas) > 0 {
		sh.Founders = []string{sh.Replicas[max(0, sh.firstStaying())].ID}
	}
}

// removeReplica removes a replica, whose ID must not be used again.
func (t *change) removeReplica(shard uint32, id string) {
	sh := t.shard(shard)
	sh.Replicas = slices.DeleteFunc(sh.Replicas, func(r Replica) bool { return r.ID == id })
	r := &t.state.retired
	r.Replicas = newest(append(r.Replicas, RetiredReplica{shard, id}))
}

func newest[T any](list []T) []T { return list[max(0, len(list)-maxRetired):] }

func holdsReplica(m *Map, id NodeID) bool {
	return slices.ContainsFunc(m.Shards, func(s Shard) bool { return s.On(id) != nil })
}

// removedNode returns a refusal if the node was removed from the cluster.
func (s *State) removedNode(field string, id NodeID) error {
	for _, n := range s.retired.Nodes {
		if n.ID == id {
			r := refuse(field, "node %s (%q) was removed from the cluster: to have it back, let it begin with an empty data folder", id, n.Name)
			r.Removed = true
			return r
		}
	}
	return nil
}
