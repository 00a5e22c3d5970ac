package store

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/belfry-im/belfry/shard/command"
)

// A ClusterStatus is a cluster as one of its nodes sees it. What that node cannot know
// without the others is missing: Shards without a leader that it reaches have no Lag.
type ClusterStatus struct {
	Cluster string // UUID; "" while the node belongs to none
	Version uint64 // of the map
	Asked   string // name of the node that answers
	Waiting string // what that node waits for before it takes part; "" once it does
	// Leader is the node that leads placement, "" if none is known: then nothing about
	// the cluster can be changed.
	Leader string
	Voters []string // nodes that vote on changes of the cluster
	Config ClusterConfig
	Nodes  []NodeStatus
	Shards []ShardStatus
}

// A ClusterConfig is what all nodes go by.
type ClusterConfig struct {
	Version   uint64
	Limits    command.Limits
	HookBytes int
}

// NodeState says how another node is reached.
type NodeState string

const (
	NodeSelf      NodeState = "asked" // it is the one that answers
	NodeConnected NodeState = "connected"
	NodeLost      NodeState = "lost"    // nothing is heard of it
	NodeUnknown   NodeState = "waiting" // it was never connected
)

// Up reports whether a node takes part as far as can be seen.
func (s NodeState) Up() bool { return s == NodeSelf || s == NodeConnected }

// A NodeStatus is one node.
type NodeStatus struct {
	ID, Name, Address, Roles string
	State                    NodeState
	Store                    bool // holds replicas
	Admitted                 bool
	Maintenance, Leaving     bool
	Leads, Replicas          int      // shards that it leads, replicas that it holds
	Problems                 []string // what else is wrong with it, in sentences
	// Speaks has the versions that it reads, as "1" or "1 to 2", by protocol; nil if it is
	// not connected.
	Speaks map[string]string
	NodeCondition
}

// A NodeCondition is what a node says of itself.
type NodeCondition struct {
	// ClockOffset is how far the median of the other nodes' clocks is ahead of this one's.
	ClockOffset time.Duration `json:"clockOffset,omitempty"`
	// LeadsNothing says why it is to lead no shard; "" if it may.
	LeadsNothing string `json:"leadsNothing,omitempty"`
	Draining     bool   `json:"draining,omitempty"`
	SlowDisk     bool   `json:"slowDisk,omitempty"` // its disk has hung of late
	DiskLow      bool   `json:"diskLow,omitempty"`  // it refuses sends for want of disk
	MemoryFull   bool   `json:"memoryFull,omitempty"`
	// FlagsDiffer names flags of it that were to set what the cluster's configuration has
	// otherwise. They count for nothing.
	FlagsDiffer []string `json:"flagsDiffer,omitempty"`
}

// shownOffset is how far a clock must be off to be worth saying.
const shownOffset = time.Second

func (c *NodeCondition) problems() (list []string) {
	nothing := ""
	if c.LeadsNothing != "" {
		nothing = " and leads nothing"
	}
	if c.ClockOffset.Abs() > shownOffset {
		list = append(list, fmt.Sprintf("has a clock that is %v off the others'%s", c.ClockOffset.Abs().Round(100*time.Millisecond), nothing))
	}
	if c.SlowDisk {
		list = append(list, "has a slow disk"+nothing)
	}
	if c.Draining {
		list = append(list, "is being drained"+nothing)
	}
	if c.DiskLow {
		list = append(list, "has a disk that is nearly full")
	}
	if c.MemoryFull {
		list = append(list, "has no memory left for messages")
	}
	return list
}

// ReplicaState says what a replica is and whether it counts.
type ReplicaState string

const (
	ReplicaLeader   ReplicaState = "leader"
	ReplicaFollower ReplicaState = "follower"
	ReplicaLearner  ReplicaState = "learner" // without a vote
	ReplicaNew      ReplicaState = "new"     // not made, or not a member yet
	ReplicaLeaving  ReplicaState = "leaving"
)

// A ReplicaStatus is one replica of a shard.
type ReplicaStatus struct {
	ID, Node string // Node is the name
	State    ReplicaState
	Up       bool   // its node is reached and it answers its leader
	CaughtUp bool   // it has nearly all of the log; false if nobody knows
	Lag      uint64 // entries that it lacks, as far as its leader knows
	Problem  string // why it is not open, or has stopped; "" if it is
	Stopped  bool   // it has stopped for good
	Diverged bool   // it differs from others, and nobody can tell which is right
}

// votes reports whether the replica is a voter.
func (r *ReplicaStatus) votes() bool {
	return r.State == ReplicaLeader || r.State == ReplicaFollower || r.State == ReplicaLeaving
}

// A ShardStatus is one shard.
type ShardStatus struct {
	ID       uint32
	Slots    int
	Leader   string // name of the node that leads it, "" if none is known
	Wanted   int    // replicas that it should have
	Replicas []ReplicaStatus
}

// A Level says how bad something is. It is the exit code of belfry cluster status.
type Level int

const (
	Healthy  Level = iota // all is as it should be
	Degraded              // all is served, and something is not as it should be
	Down                  // something is not served
)

// A Verdict sums up a ClusterStatus.
type Verdict struct {
	Level Level
	// Survives is the number of further nodes that may be lost, whichever they are,
	// without anything not being served; negative if something is not served already.
	Survives int
	Text     string   // one line
	Problems []string // the worst first
	Warnings []string // what is no fault, and may be no intention
}

// Verdict returns what s means.
func (s *ClusterStatus) Verdict() Verdict {
	if s.Cluster == "" || s.Waiting != "" {
		waiting := cmp.Or(s.Waiting, "a cluster")
		return Verdict{Level: Down, Survives: -1, Text: "not in a cluster yet; waits for " + waiting, Problems: []string{}}
	}
	var down, degraded []string
	survives := -1
	if s.Leader != "" {
		survives = s.spare(s.Voters)
	} else {
		down = append(down, "no leader of placement is known: nothing about the cluster can be changed, while the shards go on")
	}
	for i := range s.Shards {
		sh := &s.Shards[i]
		spare, problems := sh.health()
		survives = min(survives, spare)
		if sh.Leader == "" {
			down = append(down, fmt.Sprintf("shard %d has no leader that node %s knows", sh.ID, s.Asked))
			survives = -1
		}
		degraded = append(degraded, problems...)
	}
	for i := range s.Nodes {
		degraded = append(degraded, s.Nodes[i].problems()...)
	}
	v := Verdict{Survives: survives, Problems: slices.Concat(down, degraded)}
	for i := range s.Nodes {
		if n := &s.Nodes[i]; len(n.FlagsDiffer) > 0 {
			v.Warnings = append(v.Warnings, fmt.Sprintf("node %s has flags that differ from the cluster's configuration and count for nothing: %s", n.Name, strings.Join(n.FlagsDiffer, ", ")))
		}
	}
	switch {
	case len(down) > 0:
		v.Level, v.Text = Down, "not all is served: "+down[0]
	case len(degraded) > 0:
		v.Level, v.Text = Degraded, "degraded; "+losses(survives)
	default:
		v.Text = "healthy; " + losses(survives)
	}
	if v.Problems == nil {
		v.Problems = []string{}
	}
	return v
}

func losses(n int) string {
	switch {
	case n <= 0:
		return "does not survive the loss of a node"
	case n == 1:
		return "survives the loss of 1 more node"
	}
	return fmt.Sprintf("survives the loss of %d more nodes", n)
}

// spare returns how many of these nodes may be lost before those that are left are no
// majority.
func (s *ClusterStatus) spare(nodes []string) int {
	up := 0
	for _, name := range nodes {
		if n := s.Node(name); n != nil && n.State.Up() {
			up++
		}
	}
	return up - (len(nodes)/2 + 1)
}

// Node returns the node of that name that stays, else one that leaves, else nil.
func (s *ClusterStatus) Node(name string) *NodeStatus {
	var found *NodeStatus
	for i := range s.Nodes {
		if n := &s.Nodes[i]; n.Name == name && (found == nil || !n.Leaving) {
			found = n
		}
	}
	return found
}

// health returns how many replicas may be lost before there is no majority, and what is
// not as it should be.
func (sh *ShardStatus) health() (spare int, problems []string) {
	voters, up, staying := 0, 0, 0
	for i := range sh.Replicas {
		r := &sh.Replicas[i]
		if r.State != ReplicaLeaving {
			staying++
		}
		if r.votes() {
			voters++
			if r.Up && r.CaughtUp && r.Problem == "" {
				up++
			}
		}
		if problem := r.problem(); problem != "" {
			problems = append(problems, fmt.Sprintf("shard %d: the replica on node %s %s", sh.ID, r.Node, problem))
		}
	}
	if staying < sh.Wanted {
		problems = append(problems, fmt.Sprintf("shard %d has %d of %d replicas", sh.ID, staying, sh.Wanted))
	}
	return up - (voters/2 + 1), problems
}

// problem returns why the replica does not count, "" if it does.
func (r *ReplicaStatus) problem() string {
	switch {
	case r.Stopped:
		return "has stopped: " + r.Problem
	case r.Problem != "":
		return "is not open: " + r.Problem
	case r.Diverged:
		return "differs from another one, and nobody can tell which is right"
	case r.State == ReplicaNew:
		return "is being made"
	case r.State == ReplicaLearner:
		return "has no vote yet"
	case r.State == ReplicaLeaving:
		return "is leaving"
	case !r.Up:
		return "is not reached"
	case !r.CaughtUp:
		return fmt.Sprintf("lacks %d entries", r.Lag)
	}
	return ""
}

func (n *NodeStatus) problems() []string {
	var list []string
	add := func(what string) { list = append(list, fmt.Sprintf("node %s %s", n.Name, what)) }
	switch {
	case !n.Admitted:
		add("waits to be admitted: belfry cluster admit " + n.Name)
	case !n.State.Up():
		add("is not reached")
	}
	if n.Leaving {
		add("is leaving")
	}
	if n.Maintenance {
		add("is in maintenance")
	}
	for _, p := range slices.Concat(n.NodeCondition.problems(), n.Problems) {
		add(p)
	}
	return list
}

// Obstacles returns why the nodes of these names must not be stopped together now: what
// would not be served, and what the other nodes still lack. None means that they may.
func (s *ClusterStatus) Obstacles(names []string) []string {
	stops := func(name string) bool { return slices.Contains(names, name) }
	var list []string
	if s.Cluster == "" {
		return []string{"this node is in no cluster"}
	}
	others := slices.DeleteFunc(slices.Clone(s.Voters), stops)
	if s.Leader == "" {
		list = append(list, "no leader of placement is known")
	} else if left := s.spare(others) + len(others)/2 + 1; left < len(s.Voters)/2+1 {
		list = append(list, fmt.Sprintf("placement would have %d of %d voters", max(0, left), len(s.Voters)))
	}
	for i := range s.Nodes {
		n := &s.Nodes[i]
		if !stops(n.Name) && n.Admitted && !n.Leaving && !n.State.Up() {
			list = append(list, fmt.Sprintf("node %s is not reached already", n.Name))
		}
	}
	for i := range s.Shards {
		list = append(list, s.Shards[i].obstacles(stops)...)
	}
	return list
}

func (sh *ShardStatus) obstacles(stops func(name string) bool) []string {
	var list []string
	if sh.Leader == "" {
		list = append(list, fmt.Sprintf("shard %d has no leader", sh.ID))
	}
	voters, left, touched := 0, 0, false
	for i := range sh.Replicas {
		r := &sh.Replicas[i]
		if r.votes() {
			voters++
		}
		switch {
		case stops(r.Node):
			touched = true
		case r.problem() != "":
			list = append(list, fmt.Sprintf("shard %d: the replica on node %s %s", sh.ID, r.Node, r.problem()))
		case r.votes():
			left++
		}
	}
	if touched && left < voters/2+1 {
		list = append(list, fmt.Sprintf("shard %d would have %d of %d voters", sh.ID, left, voters))
	}
	return list
}

// WithoutReplica returns why the shard cannot do without a replica, "" if it can: the
// others have to be a majority that is up and caught up.
func (sh *ShardStatus) WithoutReplica(id string) string {
	voters, left := 0, 0
	for i := range sh.Replicas {
		r := &sh.Replicas[i]
		if r.votes() {
			voters++
			if r.ID != id && r.Up && r.CaughtUp && r.Problem == "" {
				left++
			}
		}
	}
	switch {
	case sh.Leader == "":
		return fmt.Sprintf("shard %d has no leader", sh.ID)
	case left < voters/2+1:
		return fmt.Sprintf("shard %d would have %d of %d voters", sh.ID, left, voters)
	}
	return ""
}

// A ClusterError is a refusal of a change of the cluster: which field broke which rule.
type ClusterError struct{ Field, Rule string }

func (e *ClusterError) Error() string { return strings.TrimPrefix(e.Field+": "+e.Rule, ": ") }

// ProposalTimeout bounds how long a change of the cluster may wait for a leader.
const ProposalTimeout = 10 * time.Second
