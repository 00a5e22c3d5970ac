package placement

import (
	"slices"
	"testing"
)

// A modelNode is what decides about the vote of one node.
type modelNode struct {
	life   modelLife
	up     bool
	member modelMember
}

type (
	modelLife   uint8
	modelMember uint8
)

const (
	absent   modelLife = iota
	expected           // in place of another, and has not joined
	joined
	leaving
	gone
)

const (
	noMember modelMember = iota
	learner
	voter
)

// A modelState is a cluster of up to five nodes, all of which are stores.
type modelState struct {
	nodes [5]modelNode
	// removed: an operator has let a node leave without another in its place.
	removed bool
	// three: there were three voters while as many nodes were to vote.
	three bool
}

func (s *modelState) cluster() (*Map, *members) {
	m, of := &Map{Cluster: "c", Nodes: make([]Node, 0, 5)}, &members{votes: map[NodeID]bool{}, up: map[NodeID]bool{}}
	for i, n := range s.nodes {
		id := NodeID("abcde"[i : i+1])
		if n.life != absent && n.life != gone {
			node := Node{ID: id, Admitted: true, Roles: RoleStore, Leaving: n.life == leaving}
			if n.life != expected {
				node.Address = "there"
			}
			m.Nodes = append(m.Nodes, node)
		}
		if n.member != noMember {
			of.votes[id] = n.member == voter
		}
		if n.up {
			of.up[id] = true
		}
	}
	of.well = of.up
	return m, of
}

func (s *modelState) count(is func(n modelNode) bool) (count int) {
	for _, n := range s.nodes {
		if is(n) {
			count++
		}
	}
	return count
}

func (s *modelState) voters() int {
	return s.count(func(n modelNode) bool { return n.member == voter })
}

func (s *modelState) quorum() bool {
	return s.count(func(n modelNode) bool { return n.member == voter && n.up }) > s.voters()/2
}

// staying returns how many nodes are admitted, and not to leave.
func (s *modelState) staying() int {
	return s.count(func(n modelNode) bool { return n.life == joined || n.life == expected })
}

// steps returns what the leader, which may be any voter that is up, does next, and fails
// if that breaks a rule.
func (s *modelState) steps(t *testing.T) (next []modelState) {
	t.Helper()
	if !s.quorum() {
		return nil
	}
	m, of := s.cluster()
	for i, n := range s.nodes {
		if n.member != voter || !n.up {
			continue
		}
		of.leader = NodeID("abcde"[i : i+1])
		c := m.nextChange(of)
		if c.step == stepNone {
			continue
		}
		k := int(c.node[0] - 'a')
		after := *s
		switch c.step {
		case stepAdd:
			if after.nodes[k].member != noMember || after.nodes[k].life != joined {
				t.Fatalf("%+v: %v %s, which is a member, or not there", s, c.step, c.node)
			}
			after.nodes[k].member = learner
		case stepVote:
			if after.nodes[k].member != learner || !after.nodes[k].up {
				t.Fatalf("%+v: %v %s, which has one or is down", s, c.step, c.node)
			}
			after.nodes[k].member = voter
		case stepRemove:
			if k == i || after.nodes[k].member == noMember {
				t.Fatalf("%+v: the leader %s removes %s", s, of.leader, c.node)
			}
			after.nodes[k].member = noMember
		case stepHandOver:
			if k == i || s.nodes[k].member != voter || !s.nodes[k].up || s.nodes[i].life == joined && slices.Contains(m.Voters(), of.leader) {
				t.Fatalf("%+v: %s hands over to %s", s, of.leader, c.node)
			}
			continue
		}
		if !after.quorum() {
			t.Fatalf("%+v: %v %s leaves no quorum", s, c.step, c.node)
		}
		before, now := s.voters(), after.voters()
		if now < before && now < m.voterCount() || now == 0 {
			t.Fatalf("%+v: %v %s leaves %d voters, want %d", s, c.step, c.node, now, m.voterCount())
		}
		if now < 3 && s.three {
			t.Fatalf("%+v: %v %s leaves %d voters after there were 3, and nobody removed a node", s, c.step, c.node, now)
		}
		after.three = !s.removed && (s.three || now >= 3 && m.voterCount() >= 3)
		if !slices.Contains(next, after) {
			next = append(next, after)
		}
	}
	return next
}

// events returns what may happen to the cluster by itself, or by an operator.
func (s *modelState) events() (next []modelState) {
	with := func(change func(n *modelState)) {
		after := *s
		change(&after)
		after.three = after.three && !after.removed
		next = append(next, after)
	}
	fresh := slices.IndexFunc(s.nodes[:], func(n modelNode) bool { return n.life == absent })
	if fresh >= 0 {
		with(func(n *modelState) { n.nodes[fresh].life, n.nodes[fresh].up = joined, true })
	}
	for i, n := range s.nodes {
		switch n.life {
		case absent, gone:
			continue
		case expected:
			with(func(n *modelState) { n.nodes[i].life, n.nodes[i].up = joined, true })
		case leaving:
			if n.member == noMember {
				with(func(n *modelState) { n.nodes[i] = modelNode{life: gone} })
			}
		}
		if n.life != expected {
			with(func(n *modelState) { n.nodes[i].up = !n.nodes[i].up })
		}
		if n.life == joined && s.staying() > 1 {
			with(func(n *modelState) { n.nodes[i].life, n.removed = leaving, true })
		}
		if fresh >= 0 && n.life != leaving {
			with(func(n *modelState) { n.nodes[i].life, n.nodes[fresh].life = leaving, expected })
		}
	}
	return next
}

// whole reports whether all nodes are up and have joined: every state comes to one that is.
func (s *modelState) whole() bool {
	return s.count(func(n modelNode) bool { return n.life == expected || n.life >= joined && n.life != gone && !n.up }) == 0
}

// settles fails unless the members of a whole cluster become those that the map wants.
func (s modelState) settles(t *testing.T) {
	t.Helper()
	from := s
	for range 30 {
		next := s.steps(t)
		if len(next) == 0 {
			m, of := s.cluster()
			for _, node := range m.Voters() {
				if !of.votes[node] {
					t.Fatalf("%+v ends as %+v: %s has no vote", from, s, node)
				}
			}
			if len(of.votes) != len(m.Voters()) {
				t.Fatalf("%+v ends as %+v: members are %v, want %v", from, s, of.votes, m.Voters())
			}
			return
		}
		s = next[0]
	}
	t.Fatalf("%+v does not settle: %+v", from, s)
}

// TestMembersModel walks through all states that up to five nodes can come to by deaths,
// returns, admissions, replacements and removals, between any two steps of the leader.
func TestMembersModel(t *testing.T) {
	seen := map[modelState]bool{}
	var queue []modelState
	visit := func(states ...modelState) {
		for _, s := range states {
			if !seen[s] {
				seen[s] = true
				queue = append(queue, s)
			}
		}
	}
	for founders := range 5 {
		s := modelState{three: founders >= 2}
		for i := range founders + 1 {
			s.nodes[i] = modelNode{joined, true, voter}
		}
		if founders%2 == 1 {
			s.nodes[founders].member = noMember
		}
		visit(s)
	}
	changes := 0
	for len(queue) > 0 {
		s := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		next := s.steps(t)
		changes += len(next)
		visit(next...)
		visit(s.events()...)
		if s.whole() {
			s.settles(t)
		}
	}
	if changes == 0 {
		t.Error("no leader ever changed anything")
	}
	t.Logf("%d states, %d changes of members", len(seen), changes)
}
