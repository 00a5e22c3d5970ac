package placement

import (
	"maps"
	"slices"
)

// members is what the leader of placement's group knows of its members.
type members struct {
	leader NodeID
	votes  map[NodeID]bool // by member: whether it votes
	up     map[NodeID]bool // nodes that are reached, and reach the leader
	well   map[NodeID]bool // those of them that were so, with all entries, for a while
}

// A memberChange is one change of the members of placement's group.
type memberChange struct {
	step memberStep
	node NodeID
}

type memberStep uint8

const (
	stepNone     memberStep = iota
	stepAdd                 // add the node without a vote
	stepVote                // give it a vote
	stepRemove              // remove it
	stepHandOver            // let it lead, since the leader is to be removed
)

var memberSteps = [...]string{"none", "add", "vote", "remove", "hand over"}

func (s memberStep) String() string { return memberSteps[s] }

// nextChange returns the change that brings the members one step nearer to m.Voters, or
// stepNone if there is none, or none for now: first without a vote; with one once the
// node was well for a while; and only when all that should vote do, others leave. So there
// are never fewer voters than before a replacement, or than m.voterCount.
// What hashicorp/raft does when a change makes a quorum unreachable is to accept it and
// to stop for good; so no change is returned after which the voters that are up are no
// majority.
func (m *Map) nextChange(of *members) memberChange {
	want := m.Voters()
	if len(want) == 0 || len(of.votes) == 0 {
		return memberChange{}
	}
	all := true
	for _, node := range want {
		votes, member := of.votes[node]
		switch {
		case !member:
			return memberChange{stepAdd, node}
		case votes:
		case of.well[node] && of.quorum(node, ""):
			return memberChange{stepVote, node}
		default:
			all = false
		}
	}
	for _, node := range slices.Sorted(maps.Keys(of.votes)) {
		switch {
		case slices.Contains(want, node):
		case !of.votes[node]:
			return memberChange{stepRemove, node}
		case !all || of.voters() <= m.voterCount() || !of.quorum("", node):
		case node != of.leader:
			return memberChange{stepRemove, node}
		default:
			for _, next := range want {
				if of.up[next] && of.votes[next] {
					return memberChange{stepHandOver, next}
				}
			}
		}
	}
	return memberChange{}
}

// voters returns how many members vote.
func (of *members) voters() int {
	n := 0
	for _, votes := range of.votes {
		if votes {
			n++
		}
	}
	return n
}

// quorum reports whether the voters that are up are a majority, once the node with votes
// too and the node without does not. Either may be "".
func (of *members) quorum(with, without NodeID) bool {
	voters, up := 0, 0
	count := func(node NodeID) {
		voters++
		if of.up[node] {
			up++
		}
	}
	for node, votes := range of.votes {
		if votes && node != with && node != without {
			count(node)
		}
	}
	if with != "" {
		count(with)
	}
	return up > voters/2
}
