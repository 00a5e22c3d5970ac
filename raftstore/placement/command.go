package placement

import (
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/belfry-im/belfry/shard/command"
)

// A Command is one change of a State. Every command may be repeated: once it has had
// its effect, another time it has none.
type Command interface {
	apply(t *change) error // a *Refusal, before anything is changed
}

// Init makes the cluster. It is refused once there is one.
type Init struct {
	Cluster string         `json:"cluster"` // UUID
	Epoch   uint64         `json:"epoch"`
	Limits  command.Limits `json:"limits"`
	// HookBytes and ConfigVersion: see Config. 0: the first version.
	HookBytes     int    `json:"hookBytes"`
	ConfigVersion uint64 `json:"configVersion,omitempty"`
	// Nodes are the first nodes of the cluster; they need not be admitted.
	Nodes []Join `json:"nodes"`
	// Shards has the replicas of each shard, beginning with shard 0: they found it.
	Shards [][]NewReplica `json:"shards"`
	// Made: the replicas hold a state already, of the time before the cluster.
	Made bool `json:"made,omitempty"`
}

// A NewReplica is a replica to be.
type NewReplica struct {
	ID   string `json:"id"`
	Node NodeID `json:"node"`
}

func (c *Init) apply(t *change) error {
	switch {
	case t.Cluster == c.Cluster && c.Cluster != "":
		return nil
	case t.Cluster != "":
		return refuse("cluster", "this is cluster %s already", t.Cluster)
	case c.Cluster == "":
		return refuse("cluster", "must be set")
	case c.Epoch == 0:
		return refuse("epoch", "must be set")
	case c.HookBytes < 0:
		return refuse("hookBytes", "%d is negative", c.HookBytes)
	case len(c.Nodes) == 0 || len(c.Nodes) > MaxNodes:
		return refuse("nodes", "%d is not within 1-%d", len(c.Nodes), MaxNodes)
	case len(c.Shards) == 0 || len(c.Shards) > MaxShards:
		return refuse("shards", "%d is not within 1-%d", len(c.Shards), MaxShards)
	}
	t.Cluster, t.Epoch = c.Cluster, c.Epoch
	t.Config = Config{Version: max(1, c.ConfigVersion), Limits: c.Limits, HookBytes: c.HookBytes}
	for _, n := range c.Nodes {
		if err := n.apply(t); err != nil {
			return err
		}
		t.node(n.ID).Admitted = true
	}
	for i, replicas := range c.Shards {
		sh, err := t.found(uint32(i), replicas, c)
		if err != nil {
			return err
		}
		shards := t.shards()
		*shards = append(*shards, sh)
	}
	t.Slots = equalSlots(len(c.Shards))
	return nil
}

// found returns a shard that begins with these replicas.
func (t *change) found(id uint32, replicas []NewReplica, c *Init) (Shard, error) {
	sh := Shard{ID: id}
	if len(replicas) == 0 || len(replicas) > ReplicasPer {
		return sh, refuse("shards", "shard %d has %d replicas, not 1-%d", id, len(replicas), ReplicasPer)
	}
	for _, r := range replicas {
		if c.Made {
			if r.ID != SoloReplica || r.Node != c.Nodes[0].ID || len(replicas) > 1 {
				return sh, refuse("shards", "shard %d: replica %q on node %q: a shard of the time before the cluster has one, %q on the first node", id, r.ID, r.Node, SoloReplica)
			}
		} else if err := t.checkNewReplica(r); err != nil {
			return sh, err
		}
		if n := t.Node(r.Node); !n.takesReplicas() || sh.On(r.Node) != nil || sh.Replica(r.ID) != nil {
			return sh, refuse("shards", "shard %d: node %q is no store, or has two replicas", id, n.Name)
		}
		sh.Replicas = append(sh.Replicas, Replica{ID: r.ID, Node: r.Node, Made: c.Made})
		sh.Founders = append(sh.Founders, r.ID)
	}
	return sh, nil
}

// Join makes a node known, or notes that a known one has another address or name, or
// does other things. A new node has to be admitted before it takes part.
type Join struct {
	ID      NodeID `json:"id"`
	Name    string `json:"name"`
	Address string `json:"address"`
	Roles   Roles  `json:"roles"`
}

func (c *Join) apply(t *change) error {
	if c.ID == "" {
		return refuse("id", "must be set")
	}
	if err := CheckName(c.Name); err != nil {
		return err
	}
	if err := CheckAddress("address", c.Address); err != nil {
		return err
	}
	if c.Roles == 0 || c.Roles&^(RoleGateway|RoleStore) != 0 {
		return refuse("roles", "must be gateway, store or both")
	}
	if err := t.ready(); err != nil {
		return err
	}
	if err := t.state.removedNode("id", c.ID); err != nil {
		return err
	}
	old := t.Node(c.ID)
	if old != nil && old.Leaving {
		return nil // it is told so by the map
	}
	if other := t.NodeNamed(c.Name); other != nil && other.ID != c.ID && !other.Leaving {
		return refuse("name", "%q is node %s already; if that one is lost for good, mend it with: belfry cluster replace-node %s %s",
			c.Name, other.ID, c.Name, c.ID)
	}
	for _, other := range t.Nodes {
		if other.ID != c.ID && !other.Leaving && other.Address == c.Address {
			return refuse("address", "%s is the address of node %q already", c.Address, other.Name)
		}
	}
	if old == nil {
		if len(t.Nodes) >= MaxNodes {
			return refuse("id", "there are %d nodes already", MaxNodes)
		}
		waiting := 0
		for i := range t.Nodes {
			if !t.Nodes[i].Admitted && !t.Nodes[i].Leaving {
				waiting++
			}
		}
		if waiting >= maxWaiting {
			return refuse("id", "%d nodes wait to be admitted already: admit some, or remove them", waiting)
		}
		nodes := t.nodes()
		*nodes = append(*nodes, Node{ID: c.ID, Name: c.Name, Address: c.Address, Roles: c.Roles})
		return nil
	}
	if old.Roles.Has(RoleStore) && !c.Roles.Has(RoleStore) && holdsReplica(&t.Map, c.ID) {
		return refuse("roles", "node %q holds replicas, so it has to stay a store", old.Name)
	}
	if old.Name != c.Name || old.Address != c.Address || old.Roles != c.Roles {
		n := t.node(c.ID)
		n.Name, n.Address, n.Roles = c.Name, c.Address, c.Roles
	}
	return nil
}

// CheckName returns a *Refusal unless name can be the name of a node.
func CheckName(name string) error {
	const most = 64
	allowed := func(c rune) bool {
		return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("-_.", c)
	}
	if name == "" || len(name) > most || strings.ContainsFunc(name, func(c rune) bool { return !allowed(c) }) {
		return refuse("name", "%.80q is not 1-%d letters, digits and -_.", name, most)
	}
	return nil
}

// CheckAddress returns a *Refusal unless address is one that other nodes can dial.
func CheckAddress(field, address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return refuse(field, "%.80q is not host:port", address)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return refuse(field, "%.80q: the port is not within 1-65535", address)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		return refuse(field, "%.80q names no host that others can reach", address)
	}
	if len(address) > 300 || strings.ContainsFunc(host, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return refuse(field, "%.80q: the host is too long, or has characters that no host has", address)
	}
	return nil
}

// ready returns a refusal before Init.
func (t *change) ready() error {
	if t.Cluster == "" {
		return refuse("cluster", "there is none yet")
	}
	return nil
}

// Admit lets a node that has joined take part.
type Admit struct {
	Node NodeID `json:"node"`
}

func (c *Admit) apply(t *change) error {
	old, err := t.staying(c.Node)
	if err != nil || old.Admitted {
		return err
	}
	t.node(c.Node).Admitted = true
	return nil
}

// staying returns the node with that ID, or a refusal if it is leaving or unknown.
func (t *change) staying(id NodeID) (*Node, error) {
	if err := t.state.removedNode("node", id); err != nil {
		return nil, err
	}
	n := t.Node(id)
	switch {
	case n == nil:
		return nil, refuse("node", "there is no node %q", id)
	case n.Leaving:
		return nil, refuse("node", "%q is leaving", n.Name)
	}
	return n, nil
}

// Maintain begins or ends a node's maintenance.
type Maintain struct {
	Node NodeID `json:"node"`
	On   bool   `json:"on"`
}

func (c *Maintain) apply(t *change) error {
	old, err := t.staying(c.Node)
	if err != nil || old.Maintenance == c.On {
		return err
	}
	t.node(c.Node).Maintenance = c.On
	return nil
}

// RemoveNode lets a node leave once others have taken the place of its replicas. It is
// refused if that could never end, since too few others are there.
type RemoveNode struct {
	Node NodeID `json:"node"`
	// Fewer: shards may have fewer replicas afterwards, if no node is left for them.
	Fewer bool `json:"fewer,omitempty"`
}

func (c *RemoveNode) apply(t *change) error {
	if t.state.removedNode("node", c.Node) != nil {
		return nil
	}
	old := t.Node(c.Node)
	if old == nil {
		return refuse("node", "there is no node %q", c.Node)
	}
	if old.Leaving {
		return nil
	}
	others, stores := 0, 0
	for i := range t.Nodes {
		n := &t.Nodes[i]
		if n.ID == c.Node {
			continue
		}
		if n.takesReplicas() {
			others++
		}
		if n.Admitted && !n.Leaving && n.Roles.Has(RoleStore) {
			stores++
		}
	}
	if stores == 0 {
		return refuse("node", "%q is the only store of the cluster", old.Name)
	}
	if holdsReplica(&t.Map, c.Node) {
		need := 0
		for i := range t.Shards {
			if t.Shards[i].On(c.Node) != nil {
				need = max(need, t.Shards[i].staying())
			}
		}
		if c.Fewer {
			need = 1
		}
		if others < need {
			return refuse("node", "%q holds replicas of shards with %d, and only %d other nodes can hold replicas: let another node join first", old.Name, need, others)
		}
	}
	t.leave(c.Node)
	return nil
}

// leave lets the node and all its replicas leave.
func (t *change) leave(id NodeID) {
	t.node(id).Leaving = true
	for i := range t.Shards {
		if r := t.Shards[i].On(id); r != nil {
			t.leaveReplica(t.Shards[i].ID, r.ID)
		}
	}
}

// DropNode removes a node that is leaving from the map, once it holds no replica and is no
// member of placement's group.
type DropNode struct {
	Node NodeID `json:"node"`
}

func (c *DropNode) apply(t *change) error {
	if t.state.removedNode("node", c.Node) != nil {
		return nil
	}
	n := t.Node(c.Node)
	switch {
	case n == nil:
		return refuse("node", "there is no node %q", c.Node)
	case !n.Leaving:
		return refuse("node", "%q is not leaving", n.Name)
	case holdsReplica(&t.Map, c.Node):
		return refuse("node", "%q holds replicas", n.Name)
	}
	r := &t.state.retired
	r.Nodes = newest(append(r.Nodes, RetiredNode{ID: n.ID, Name: n.Name}))
	nodes := t.nodes()
	*nodes = slices.DeleteFunc(*nodes, func(n Node) bool { return n.ID == c.Node })
	return nil
}

// ReplaceNode lets the node New take the place of Old, which is lost or is to leave.
// New is admitted by this, also if it has not joined yet: then it is expected under
// Old's name.
type ReplaceNode struct {
	Old NodeID `json:"old"`
	New NodeID `json:"new"`
}

func (c *ReplaceNode) apply(t *change) error {
	if c.New == "" || c.New == c.Old {
		return refuse("new", "must be the ID of another node than the one it replaces")
	}
	next := t.Node(c.New)
	if t.state.removedNode("old", c.Old) != nil && next != nil {
		return nil
	}
	old := t.Node(c.Old)
	if old == nil {
		return refuse("old", "there is no node %q", c.Old)
	}
	if err := t.state.removedNode("new", c.New); err != nil {
		return err
	}
	switch {
	case next == nil && len(t.Nodes) >= MaxNodes:
		return refuse("new", "there are %d nodes already", MaxNodes)
	case next != nil && next.Leaving:
		return refuse("new", "%q is leaving", next.Name)
	case next != nil && old.Roles.Has(RoleStore) && !next.Roles.Has(RoleStore):
		return refuse("new", "%q is no store, as %q is", next.Name, old.Name)
	case old.Leaving && next != nil && next.Admitted:
		return nil
	}
	if next == nil {
		name := old.Name
		if other := t.NodeNamed(name); !other.Leaving && other.ID != c.Old {
			return refuse("old", "node %q was replaced by %s already", name, other.ID)
		}
		nodes := t.nodes()
		*nodes = append(*nodes, Node{ID: c.New, Name: name, Roles: old.Roles, Admitted: true})
	} else {
		t.node(c.New).Admitted = true
	}
	t.leave(c.Old)
	return nil
}

// SetConfig replaces the configuration. It is refused if the present version is another
// one than Expect: somebody else was faster.
type SetConfig struct {
	Expect    uint64         `json:"expect"`
	Limits    command.Limits `json:"limits"`
	HookBytes int            `json:"hookBytes"`
}

func (c *SetConfig) apply(t *change) error {
	if err := t.ready(); err != nil {
		return err
	}
	if t.Config.Limits == c.Limits && t.Config.HookBytes == c.HookBytes {
		return nil
	}
	if t.Config.Version != c.Expect {
		return refuse("expect", "the configuration has version %d, not %d: look at it again", t.Config.Version, c.Expect)
	}
	if c.HookBytes < 0 {
		return refuse("hookBytes", "%d is negative", c.HookBytes)
	}
	t.Config = Config{Version: t.Config.Version + 1, Limits: c.Limits, HookBytes: c.HookBytes}
	t.touched = true
	return nil
}

// takesReplicas reports whether new replicas may be made on the node.
func (n *Node) takesReplicas() bool {
	return n.Admitted && !n.Leaving && !n.Maintenance && n.Roles.Has(RoleStore) && n.Address != ""
}

// staying returns how many of the shard's replicas are not leaving.
func (s *Shard) staying() int {
	n := 0
	for i := range s.Replicas {
		if !s.Replicas[i].Leaving {
			n++
		}
	}
	return n
}

// firstStaying returns the index of the shard's preferred leader, -1 if all leave.
func (s *Shard) firstStaying() int {
	return slices.IndexFunc(s.Replicas, func(r Replica) bool { return !r.Leaving })
}
