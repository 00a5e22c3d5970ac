package placement

import (
	"fmt"
	"slices"
	"strings"

	"github.com/belfry-im/belfry/shard/command"
)

// A NodeID is the UUID of a node, made once with its data directory. A node's name is
// a label that another node may have after it.
type NodeID string

// A Map is the cluster as it was after the change with number Version. It never changes
// once it is published, and may share memory with its predecessors.
type Map struct {
	Version uint64      `json:"version"` // index of the last change; 0 without a cluster
	Cluster string      `json:"cluster"` // UUID; "" without a cluster
	Epoch   uint64      `json:"epoch"`   // of device cursors; made with the cluster, raised only by a restore
	Config  Config      `json:"config"`
	Nodes   []Node      `json:"nodes"`  // in the order in which they joined
	Shards  []Shard     `json:"shards"` // ascending by ID
	Slots   []SlotRange `json:"slots"`  // ascending; each slot is in exactly one
}

// A Config is what every node of the cluster has to go by alike.
type Config struct {
	Version uint64         `json:"version"` // rises by one with each change; the first is 1
	Limits  command.Limits `json:"limits"`
	// HookBytes is raftstore.Config.HookBytes, 0 if no event is recorded for hooks.
	HookBytes int `json:"hookBytes"`
}

// A Node is one process with its data directory.
type Node struct {
	ID      NodeID `json:"id"`
	Name    string `json:"name"`    // unique among the nodes that are not leaving
	Address string `json:"address"` // host:port at which other nodes reach it; "" until it has joined
	Roles   Roles  `json:"roles"`
	// Admitted: an administrator, or --auto-admit, let it take part. Before, it gets no
	// replica and no client.
	Admitted bool `json:"admitted"`
	// Maintenance: it gets no leadership and no new replica.
	Maintenance bool `json:"maintenance,omitempty"`
	// Leaving: others take the place of its replicas, and of its vote; it goes once it has
	// neither.
	Leaving bool `json:"leaving,omitempty"`
}

// Roles is the set of what a node does.
type Roles uint8

const (
	RoleGateway Roles = 1 << iota // takes clients
	RoleStore                     // holds replicas
)

var roleNames = []struct {
	role Roles
	name string
}{{RoleGateway, "gateway"}, {RoleStore, "store"}}

// Has reports whether all roles of want are in r.
func (r Roles) Has(want Roles) bool { return r&want == want }

func (r Roles) String() string {
	var names []string
	for _, n := range roleNames {
		if r.Has(n.role) {
			names = append(names, n.name)
		}
	}
	return strings.Join(names, ",")
}

// ParseRoles reads what String writes: one or more roles, separated by commas.
func ParseRoles(text string) (Roles, error) {
	var roles Roles
next:
	for name := range strings.SplitSeq(text, ",") {
		for _, n := range roleNames {
			if strings.TrimSpace(name) == n.name {
				roles |= n.role
				continue next
			}
		}
		return 0, fmt.Errorf("roles: %q is not a role, want gateway, store or both with a comma between", strings.TrimSpace(name))
	}
	return roles, nil
}

func (r Roles) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

func (r *Roles) UnmarshalText(text []byte) (err error) {
	if len(text) == 0 {
		*r = 0
		return nil
	}
	*r, err = ParseRoles(string(text))
	return err
}

// A Shard is a Raft group.
type Shard struct {
	ID uint32 `json:"id"`
	// Replicas: no two are on one node. The first one that stays is where the shard's
	// leader should be. There may be none before the first is made.
	Replicas []Replica `json:"replicas"`
	// Founders are the IDs of the replicas that its Raft group begins with, all of them
	// voters. They never change once one of them is made, also if some leave. Every other
	// replica waits for a leader to send it what it needs.
	Founders []string `json:"founders"`
}

// A Replica is one copy of a shard.
type Replica struct {
	ID   string `json:"id"` // a UUID; SoloReplica for the one that a node had before it was in a cluster
	Node NodeID `json:"node"`
	// Made: its directory exists, and Raft may have been started in it. A directory that
	// is not there from then on is lost, and so is its vote: the replica has to be made
	// anew under another ID.
	Made bool `json:"made"`
	// Leaving: it is to leave the Raft group, once those that stay are voters.
	Leaving bool `json:"leaving,omitempty"`
}

// A SlotRange is the slots from First to Last, inclusive.
type SlotRange struct {
	First uint16 `json:"first"`
	Last  uint16 `json:"last"`
	Shard uint32 `json:"shard"`
	Epoch uint64 `json:"epoch"` // rises each time the range gets another owner; the first is 1
}

// SoloReplica is the replica ID of each shard of a node without a cluster.
const SoloReplica = "node"

// Solo returns the map of one node without a cluster: it has all shards, each with a
// share of the slots.
func Solo(node Node, epoch uint64, config Config, shards int) *Map {
	m := &Map{Epoch: epoch, Config: config, Nodes: []Node{node}, Slots: equalSlots(shards)}
	for id := range shards {
		m.Shards = append(m.Shards, Shard{
			ID: uint32(id), Replicas: []Replica{{ID: SoloReplica, Node: node.ID, Made: true}}, Founders: []string{SoloReplica},
		})
	}
	return m
}

// equalSlots gives each of n new shards a share of the slots.
func equalSlots(n int) []SlotRange {
	ranges := make([]SlotRange, n)
	for i := range ranges {
		ranges[i] = SlotRange{
			First: uint16((i*command.Slots + n - 1) / n), Last: uint16(((i+1)*command.Slots+n-1)/n - 1),
			Shard: uint32(i), Epoch: 1,
		}
	}
	return ranges
}

// Owner returns the range that slot is in. The slots of m must be complete.
func (m *Map) Owner(slot uint16) *SlotRange {
	i, _ := slices.BinarySearchFunc(m.Slots, slot, func(r SlotRange, slot uint16) int { return int(r.Last) - int(slot) })
	return &m.Slots[i]
}

// Node returns the node with that ID, nil if there is none.
func (m *Map) Node(id NodeID) *Node {
	for i := range m.Nodes {
		if m.Nodes[i].ID == id {
			return &m.Nodes[i]
		}
	}
	return nil
}

// NodeNamed returns the node of that name, nil if there is none. If there are several,
// it is the one that stays.
func (m *Map) NodeNamed(name string) *Node {
	var found *Node
	for i := range m.Nodes {
		if n := &m.Nodes[i]; n.Name == name && (found == nil || !n.Leaving) {
			found = n
		}
	}
	return found
}

// Shard returns the shard with that ID, nil if there is none.
func (m *Map) Shard(id uint32) *Shard {
	i, found := slices.BinarySearchFunc(m.Shards, id, func(s Shard, id uint32) int { return int(int64(s.ID) - int64(id)) })
	if !found {
		return nil
	}
	return &m.Shards[i]
}

// On returns the shard's replica on that node, nil if it has none there.
func (s *Shard) On(node NodeID) *Replica {
	for i := range s.Replicas {
		if s.Replicas[i].Node == node {
			return &s.Replicas[i]
		}
	}
	return nil
}

// Replica returns the shard's replica with that ID, nil if it has none.
func (s *Shard) Replica(id string) *Replica {
	for i := range s.Replicas {
		if s.Replicas[i].ID == id {
			return &s.Replicas[i]
		}
	}
	return nil
}
