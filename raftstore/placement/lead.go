package placement

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// A probe is how the leader looks after the other nodes.
type probe struct {
	// Member: the node is a member of the Raft group, as the leader has it. Votes: it has
	// a vote there.
	Member bool   `json:"member"`
	Votes  bool   `json:"votes,omitempty"`
	Leader NodeID `json:"leader"`
}

// A probeAnswer shows that a node is reached, and whether it reaches the leader.
type probeAnswer struct {
	Applied uint64 `json:"applied"` // index; 0 if Raft does not run there
	Leader  NodeID `json:"leader"`  // as its Raft knows it from AppendEntries, so the leader does reach it
}

// probed answers methodProbe.
func (g *Group) probed(_ context.Context, p probe) (probeAnswer, error) {
	g.mu.Lock()
	g.follows, g.followed = p.Leader, time.Now()
	g.mu.Unlock()
	m := g.running()
	switch {
	case m == nil && g.founding():
		return probeAnswer{}, nil // it begins by itself, with all founders
	case m == nil && (p.Member || g.shouldVote()):
		// The leader is to find Raft running when it adds this node.
		leader := saysNoVoter
		if p.Votes {
			leader = saysVoter
		}
		if err := g.openMember(leader); err != nil {
			if errors.Is(err, errVotesLost) {
				g.end(err)
			}
			return probeAnswer{}, err
		}
		return probeAnswer{}, nil
	case m == nil:
		return probeAnswer{}, nil
	case !p.Member && !g.shouldVote():
		return probeAnswer{}, g.closeMember()
	}
	_, leader := m.raft.LeaderWithID()
	return probeAnswer{Applied: m.raft.AppliedIndex(), Leader: NodeID(leader)}, nil
}

// founding reports whether this node is to found a cluster and has not begun to.
func (g *Group) founding() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.founders == nil && g.m.Cluster == "" && (g.cfg.Expect > 0 || g.cfg.Solo)
}

// followedFor is for how many ticks a node without Raft believes that the leader which
// looked after it last still leads.
const followedFor = 5

// stableTicks is how often in a row a new member has to be found well before it gets a
// vote.
const stableTicks = 3

// A leadership is what the leader of the group knows of the others.
type leadership struct {
	g *Group
	m *member

	ready   bool
	applied uint64          // index as of the last round: who is well has that much
	well    map[NodeID]int  // rounds in a row in which the node was reached and reached this one
	up      map[NodeID]bool // as of the last round
}

// lead does the leader's work while this node leads.
func (g *Group) lead() {
	var l *leadership
	for {
		m := g.running()
		g.mu.Lock()
		changed, version := g.changed, g.m.Version
		g.mu.Unlock()
		if m == nil || m.raft.State() != raft.Leader || m.hang.is() {
			l = nil
		} else {
			if l == nil || l.m != m {
				l = &leadership{g: g, m: m, well: map[NodeID]int{}}
			}
			l.round()
		}
		if g.Map().Version != version {
			continue // by this round; there may be more to do
		}
		var leads <-chan bool
		if m != nil {
			leads = m.leads
		}
		select {
		case <-changed:
		case <-leads:
		case <-time.After(g.cfg.tick):
		case <-g.ctx.Done():
			return
		}
	}
}

// round does what is to be done next.
func (l *leadership) round() {
	g := l.g
	if !l.ready {
		// Then all that was committed before has been applied here: the map is the newest.
		if err := l.m.raft.Barrier(proposeTry).Error(); err != nil {
			return
		}
		l.ready = true
	}
	if g.Map().Cluster == "" {
		if init := g.initial(); init != nil {
			l.propose(init)
		}
		return
	}
	l.probe()
	l.converge()
	for _, c := range Plan(g.Map(), NewUUID) {
		l.propose(c)
	}
	if members := l.servers(); members != nil {
		for _, c := range planDrops(g.Map(), members) {
			l.propose(c)
		}
	}
}

// initial returns the command that makes the cluster, nil if this node did not found it.
func (g *Group) initial() *Init {
	g.mu.Lock()
	founders := g.founders
	g.mu.Unlock()
	if founders == nil {
		return nil
	}
	seed := &g.cfg.Seed
	c := &Init{
		Cluster: clusterOf(founders), Epoch: seed.Epoch,
		Limits: seed.Config.Limits, HookBytes: seed.Config.HookBytes, ConfigVersion: seed.Config.Version,
		Nodes: founders, Made: g.cfg.Solo,
	}
	if c.Epoch == 0 {
		c.Epoch = uint64(time.Now().UnixMilli())
	}
	for i := range max(1, seed.Shards) {
		if g.cfg.Solo {
			c.Shards = append(c.Shards, []NewReplica{{ID: SoloReplica, Node: founders[0].ID}})
			continue
		}
		var replicas []NewReplica
		for k := range min(len(founders), ReplicasPer) {
			replicas = append(replicas, NewReplica{ID: NewUUID(), Node: founders[(i+k)%len(founders)].ID})
		}
		c.Shards = append(c.Shards, replicas)
	}
	return c
}

func (l *leadership) propose(c Command) {
	data, err := EncodeCommand(c)
	if err != nil {
		l.g.log.Error("a command cannot be written", "err", err)
		return
	}
	ctx, cancel := context.WithTimeout(l.g.ctx, proposeTry)
	defer cancel()
	if a := l.g.proposeHere(ctx, data); a.Refusal != nil {
		l.g.log.Warn("a step of the plan was refused", "err", a.Refusal)
	}
}

// probe looks how all other nodes do, all at once.
func (l *leadership) probe() {
	g := l.g
	members := l.servers()
	var mu sync.Mutex
	up := map[NodeID]bool{g.cfg.Node.ID: true}
	maps.DeleteFunc(l.well, func(node NodeID, _ int) bool { return g.Map().Node(node) == nil })
	applied := l.applied
	l.applied = l.m.raft.AppliedIndex()
	var calls sync.WaitGroup
	for _, n := range g.Map().Nodes {
		if n.ID == g.cfg.Node.ID || !n.Admitted || n.Address == "" {
			continue
		}
		calls.Go(func() {
			ctx, cancel := context.WithTimeout(g.ctx, g.cfg.tick)
			defer cancel()
			votes, member := members[n.ID]
			a, err := call[probeAnswer](ctx, g, n.ID, "", methodProbe, probe{Member: member, Votes: votes, Leader: g.cfg.Node.ID})
			mu.Lock()
			defer mu.Unlock()
			if err == nil && a.Leader == g.cfg.Node.ID && a.Applied >= applied {
				l.well[n.ID]++
			} else {
				l.well[n.ID] = 0
			}
			up[n.ID] = err == nil && a.Leader == g.cfg.Node.ID
		})
	}
	calls.Wait()
	l.up = up
}

// servers returns the members of the Raft group, and whether each has a vote.
func (l *leadership) servers() map[NodeID]bool {
	future := l.m.raft.GetConfiguration()
	if future.Error() != nil {
		return nil
	}
	votes := map[NodeID]bool{}
	for _, s := range future.Configuration().Servers {
		votes[NodeID(s.ID)] = s.Suffrage == raft.Voter
	}
	return votes
}

// converge brings the members of the Raft group one step nearer to what they should be.
func (l *leadership) converge() {
	g, r := l.g, l.m.raft
	of := members{leader: g.cfg.Node.ID, votes: l.servers(), up: l.up, well: map[NodeID]bool{}}
	for node, rounds := range l.well {
		of.well[node] = rounds >= stableTicks
	}
	change := g.Map().nextChange(&of)
	id, address := raft.ServerID(change.node), raft.ServerAddress(change.node)
	var future raft.IndexFuture
	switch change.step {
	case stepNone:
		return
	case stepHandOver:
		err := r.LeadershipTransferToServer(id, address).Error()
		g.log.Info("handing over placement", "to", g.label(change.node), "err", err)
		return
	case stepAdd:
		future = r.AddNonvoter(id, address, 0, proposeTry)
	case stepVote:
		future = r.AddVoter(id, address, 0, proposeTry)
	case stepRemove:
		future = r.RemoveServer(id, 0, proposeTry)
	}
	err := future.Error()
	if err == nil {
		// A snapshot needs an entry behind that of the change.
		err = r.Barrier(proposeTry).Error()
	}
	g.log.Info("members of placement", "change", change.step.String(), "node", g.label(change.node), "err", err)
}

// label returns the name of a node for logs.
func (g *Group) label(id NodeID) string {
	if n := g.Map().Node(id); n != nil {
		return n.Name
	}
	return string(id)
}

// NewUUID returns a random UUID, version 4.
func NewUUID() string {
	var b [16]byte
	rand.Read(b[:])
	return formatUUID(b, 4)
}

// IsUUID reports whether text has the form of a UUID.
func IsUUID(text string) bool {
	if len(text) != 36 {
		return false
	}
	for i, c := range []byte(text) {
		switch dash := i == 8 || i == 13 || i == 18 || i == 23; {
		case dash && c != '-', !dash && !strings.ContainsRune("0123456789abcdef", rune(c)):
			return false
		}
	}
	return true
}

// Leader returns the node that leads the group as far as this one knows, "" if none, and
// who votes if this one leads.
func (g *Group) Leader() (leader NodeID, voters []NodeID) {
	m := g.running()
	if m == nil || m.hang.is() {
		return g.followedLeader(), nil
	}
	_, id := m.raft.LeaderWithID()
	if NodeID(id) != g.cfg.Node.ID {
		return NodeID(id), nil
	}
	for node, votes := range (&leadership{g: g, m: m}).servers() {
		if votes {
			voters = append(voters, node)
		}
	}
	slices.Sort(voters)
	return NodeID(id), voters
}

// followedLeader returns the leader that looked after this node a moment ago, "" if none
// did.
func (g *Group) followedLeader() NodeID {
	g.mu.Lock()
	defer g.mu.Unlock()
	if time.Since(g.followed) > followedFor*g.cfg.tick {
		return ""
	}
	return g.follows
}

// clusterOf returns the UUID of the cluster that these nodes found: all of them need it
// before the first of them can commit anything. It is of version 8, since it is made
// from their own.
func clusterOf(founders []Join) string {
	h := sha256.New()
	for _, f := range founders {
		fmt.Fprintf(h, "%s\n", f.ID)
	}
	return formatUUID([16]byte(h.Sum(nil)), 8)
}

func formatUUID(b [16]byte, version byte) string {
	b[6], b[8] = b[6]&0x0f|version<<4, b[8]&0x3f|0x80
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}
