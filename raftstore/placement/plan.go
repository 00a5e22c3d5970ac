package placement

import (
	"cmp"
	"slices"
)

// Plan returns the commands that bring the cluster nearer to what it should be: three
// replicas of each shard on nodes that hold about as many of them each, and as many
// preferred leaders each. Replicas that are to be made get IDs of newID. It returns
// none if all is as it should be, or as near as the nodes allow.
func Plan(m *Map, newID func() string) []Command {
	if m.Cluster == "" {
		return nil
	}
	if add := planReplicas(m, newID); len(add) > 0 {
		return add
	}
	return planLeaders(m)
}

func planReplicas(m *Map, newID func() string) []Command {
	var commands []Command
	held := map[NodeID]int{}
	for i := range m.Shards {
		for _, r := range m.Shards[i].Replicas {
			held[r.Node]++
		}
	}
	for i := range m.Shards {
		sh := &m.Shards[i]
		var nodes []*Node
		for k := range m.Nodes {
			if n := &m.Nodes[k]; n.takesReplicas() && sh.On(n.ID) == nil {
				nodes = append(nodes, n)
			}
		}
		// The order of joining decides among equals; it is rotated, so that the
		// second and third replicas of the shards do not all meet on the same nodes.
		if len(nodes) > 0 {
			k := i % len(nodes)
			nodes = slices.Concat(nodes[k:], nodes[:k])
		}
		slices.SortStableFunc(nodes, func(a, b *Node) int { return cmp.Compare(held[a.ID], held[b.ID]) })
		room := min(ReplicasPer-sh.staying(), maxReplicas-len(sh.Replicas))
		for _, n := range nodes[:max(0, min(len(nodes), room))] {
			held[n.ID]++
			commands = append(commands, &AddReplica{Shard: sh.ID, NewReplica: NewReplica{ID: newID(), Node: n.ID}})
		}
	}
	return commands
}

// planLeaders moves one preferred leader from the node with the most to the one with
// the fewest, or away from a node that should lead nothing.
func planLeaders(m *Map) []Command {
	led := map[NodeID]int{}
	for i := range m.Shards {
		if k := m.Shards[i].firstStaying(); k >= 0 {
			led[m.Shards[i].Replicas[k].Node]++
		}
	}
	var best *Prefer
	most := 1 // what a move has to gain: with a lesser difference it only swaps two nodes
	for i := range m.Shards {
		sh := &m.Shards[i]
		k := sh.firstStaying()
		if k < 0 {
			continue
		}
		first := sh.Replicas[k]
		for _, r := range sh.Replicas {
			if r.Leaving || !r.Made || r.ID == first.ID || m.Node(r.Node).Maintenance {
				continue
			}
			gain := led[first.Node] - led[r.Node]
			if m.Node(first.Node).Maintenance || !first.Made {
				gain += MaxShards
			}
			if gain > most {
				most, best = gain, &Prefer{Shard: sh.ID, ID: r.ID}
			}
		}
	}
	if best == nil {
		return nil
	}
	return []Command{best}
}

// maxVoters bounds the voters of placement's own Raft group: each further one costs
// every change a message, and five survive the loss of two.
const maxVoters = 5

// MaxFounders bounds the nodes that found a cluster: they all vote.
const MaxFounders = maxVoters

// Voters returns which nodes should vote on changes of the map: up to five stores, an
// odd number of them, those that joined first.
func (m *Map) Voters() []NodeID {
	var voters []NodeID
	for i := range m.Nodes {
		n := &m.Nodes[i]
		if n.mayVote() && n.Address != "" && len(voters) < m.voterCount() {
			voters = append(voters, n.ID)
		}
	}
	return voters
}

// voterCount returns how many nodes should vote. A node that is expected in the place of
// another counts before it has joined, so that no vote is taken away meanwhile.
func (m *Map) voterCount() int {
	count := 0
	for i := range m.Nodes {
		if m.Nodes[i].mayVote() {
			count++
		}
	}
	count = min(count, maxVoters)
	if count%2 == 0 && count > 0 {
		count--
	}
	return count
}

func (n *Node) mayVote() bool { return n.Admitted && !n.Leaving && n.Roles.Has(RoleStore) }

// planDrops returns the commands that remove the nodes that have left: they hold no
// replica, and are not among the members of placement's group. Until then others know
// where they are, and they count.
func planDrops(m *Map, members map[NodeID]bool) []Command {
	var commands []Command
	for i := range m.Nodes {
		n := &m.Nodes[i]
		if _, member := members[n.ID]; n.Leaving && !member && !holdsReplica(m, n.ID) {
			commands = append(commands, &DropNode{Node: n.ID})
		}
	}
	return commands
}
