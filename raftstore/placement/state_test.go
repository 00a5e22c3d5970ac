package placement

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/belfry-im/belfry/shard/command"
)

// A bench is a State that is checked after each command.
type bench struct {
	t     testing.TB
	s     *State
	index uint64
	ids   int
}

func newBench(t testing.TB) *bench { return &bench{t: t, s: NewState()} }

func (b *bench) newID() string { b.ids++; return fmt.Sprintf("r%d", b.ids) }

// apply applies c after it was written and read again, and returns the refusal.
func (b *bench) apply(c Command) error {
	b.t.Helper()
	data, err := EncodeCommand(c)
	if err != nil {
		b.t.Fatal(err)
	}
	again, err := DecodeCommand(data)
	if err != nil {
		b.t.Fatalf("%s: %v", data, err)
	}
	if !reflect.DeepEqual(again, c) {
		b.t.Fatalf("read %+v from %s", again, data)
	}
	before, version := b.s.Map(), b.s.Map().Version
	frozen, err := EncodeMap(before)
	if err != nil {
		b.t.Fatal(err)
	}
	b.index++
	err = b.s.Apply(b.index, again)
	if err != nil && b.s.Map() != before {
		b.t.Fatalf("%s was refused and changed the map", data)
	}
	if refusal := (*Refusal)(nil); err != nil && !errors.As(err, &refusal) {
		b.t.Fatalf("%s: %v, want a refusal", data, err)
	}
	if still, _ := EncodeMap(before); string(still) != string(frozen) {
		b.t.Fatalf("%s changed a published map:\n%s\n%s", data, frozen, still)
	}
	if err := b.s.Map().check(); err != nil {
		b.t.Fatalf("after %s: %v", data, err)
	}
	if v := b.s.Map().Version; v != version && v != b.index {
		b.t.Fatalf("version = %d, want %d or %d", v, version, b.index)
	}
	return err
}

func (b *bench) do(c Command) {
	b.t.Helper()
	if err := b.apply(c); err != nil {
		b.t.Fatalf("%T%+v: %v", c, c, err)
	}
}

// plan applies Plan until it has nothing more to say, as if all nodes did their part
// at once.
func (b *bench) plan() {
	b.t.Helper()
	for range 1000 {
		commands := slices.Concat(Plan(b.s.Map(), b.newID), planDrops(b.s.Map(), nil))
		for _, sh := range b.s.Map().Shards {
			removed := false // one in a round, as a leader does it
			for _, r := range sh.Replicas {
				if !r.Made {
					commands = append(commands, &ReplicaMade{Shard: sh.ID, ID: r.ID})
				}
				other := func(o Replica) bool { return o.Made && o.ID != r.ID }
				if r.Leaving && !removed && slices.ContainsFunc(sh.Replicas, other) {
					removed = true
					commands = append(commands, &RemoveReplica{Shard: sh.ID, ID: r.ID})
				}
			}
		}
		if len(commands) == 0 {
			return
		}
		for _, c := range commands {
			b.do(c)
		}
	}
	b.t.Fatal("the plan never ends")
}

func store(id string) Join {
	return Join{ID: NodeID(id), Name: "name-" + id, Address: id + ":7946", Roles: RoleStore | RoleGateway}
}

// cluster inits a cluster of stores n1, n2 … whose shards are founded in turn.
func (b *bench) cluster(nodes, shards int) {
	b.t.Helper()
	init := &Init{Cluster: "c1", Epoch: 9, Limits: command.Limits{Recents: 7}, HookBytes: 5}
	for i := range nodes {
		init.Nodes = append(init.Nodes, store(fmt.Sprintf("n%d", i+1)))
	}
	for i := range shards {
		init.Shards = append(init.Shards, []NewReplica{{ID: b.newID(), Node: init.Nodes[i%nodes].ID}})
	}
	b.do(init)
}

// spread returns how many replicas, and how many preferred leaders, each node has.
func spread(m *Map) (replicas, leaders map[NodeID]int) {
	replicas, leaders = map[NodeID]int{}, map[NodeID]int{}
	for _, sh := range m.Shards {
		leaders[sh.Replicas[0].Node]++
		for _, r := range sh.Replicas {
			replicas[r.Node]++
		}
	}
	return replicas, leaders
}

func TestPlanSpreadsReplicasAndLeaders(t *testing.T) {
	for _, test := range []struct {
		nodes, shards, each int
	}{{1, 4, 1}, {2, 4, 2}, {3, 1, 3}, {3, 8, 3}, {5, 10, 3}, {7, 64, 3}} {
		t.Run(fmt.Sprintf("%d nodes %d shards", test.nodes, test.shards), func(t *testing.T) {
			b := newBench(t)
			b.cluster(test.nodes, test.shards)
			b.plan()
			for _, sh := range b.s.Map().Shards {
				if len(sh.Replicas) != test.each {
					t.Errorf("shard %d has %d replicas, want %d", sh.ID, len(sh.Replicas), test.each)
				}
			}
			replicas, leaders := spread(b.s.Map())
			checkSpread(t, "replicas", replicas, test.nodes, test.shards*test.each)
			checkSpread(t, "leaders", leaders, test.nodes, test.shards)
		})
	}
}

func checkSpread(t *testing.T, what string, got map[NodeID]int, nodes, all int) {
	t.Helper()
	least, most := all, 0
	for i := range nodes {
		n := got[NodeID(fmt.Sprintf("n%d", i+1))]
		least, most = min(least, n), max(most, n)
	}
	if most-least > 1 {
		t.Errorf("%s are spread unevenly: %v", what, got)
	}
}

// TestSoloBecomesThree begins with the shards that one node had before the cluster.
func TestSoloBecomesThree(t *testing.T) {
	b := newBench(t)
	init := &Init{Cluster: "c1", Epoch: 9, ConfigVersion: 5, Nodes: []Join{store("n1")}, Made: true}
	for range 6 {
		init.Shards = append(init.Shards, []NewReplica{{ID: SoloReplica, Node: "n1"}})
	}
	b.do(init)
	if v := b.s.Map().Config.Version; v != 5 {
		t.Errorf("Config.Version = %d, want the one before the cluster", v)
	}
	solo := Solo(*b.s.Map().Node("n1"), 9, b.s.Map().Config, 6)
	if !reflect.DeepEqual(b.s.Map().Shards, solo.Shards) || !reflect.DeepEqual(b.s.Map().Slots, solo.Slots) {
		t.Fatalf("shards = %+v, want those of Solo", b.s.Map().Shards)
	}
	b.plan()
	for _, id := range []string{"n2", "n3"} {
		b.do(new(store(id)))
		b.plan()
		if b.s.Map().Shards[0].On(NodeID(id)) != nil {
			t.Errorf("%s has a replica and was not admitted", id)
		}
		b.do(&Admit{Node: NodeID(id)})
		b.plan()
	}
	replicas, leaders := spread(b.s.Map())
	if want := (map[NodeID]int{"n1": 6, "n2": 6, "n3": 6}); !maps.Equal(replicas, want) {
		t.Errorf("replicas = %v, want %v", replicas, want)
	}
	if want := (map[NodeID]int{"n1": 2, "n2": 2, "n3": 2}); !maps.Equal(leaders, want) {
		t.Errorf("leaders = %v, want %v", leaders, want)
	}
	// The SoloReplicas of all shards leave, not only the first that does.
	b.do(new(store("n4")))
	b.do(&ReplaceNode{Old: "n1", New: "n4"})
	b.plan()
	if b.s.Map().Node("n1") != nil {
		t.Error("n1 is still there after all its replicas were replaced")
	}
}

func TestReplaceLostNode(t *testing.T) {
	b := newBench(t)
	b.cluster(3, 4)
	b.plan()
	// The node lost its folder and comes back with another UUID under its name.
	back := Join{ID: "new", Name: "name-n2", Address: "n2:7947", Roles: RoleStore}
	err := b.apply(&back)
	if want := "belfry cluster replace-node name-n2 new"; err == nil || !strings.Contains(err.Error(), want) {
		t.Fatalf("Join = %v, want the command %q", err, want)
	}
	b.do(&ReplaceNode{Old: "n2", New: "new"})
	if n := b.s.Map().NodeNamed("name-n2"); n.ID != "new" || !n.Admitted {
		t.Errorf("name-n2 = %+v, want the new node", n)
	}
	if len(Plan(b.s.Map(), b.newID)) != 0 {
		t.Error("replicas are planned on a node that has not joined")
	}
	b.do(&back)
	b.plan()
	if m := b.s.Map(); m.Node("n2") != nil || len(m.Nodes) != 3 {
		t.Errorf("nodes = %+v, want n2 gone", m.Nodes)
	}
	replicas, _ := spread(b.s.Map())
	if replicas["new"] != 4 {
		t.Errorf("replicas = %v, want all four on the new node", replicas)
	}
	if err := b.apply(new(store("n2"))); err == nil || !strings.Contains(err.Error(), "was removed") {
		t.Errorf("Join of the removed node = %v", err)
	}
	b.do(&ReplaceNode{Old: "n2", New: "new"}) // a repeat
}

func TestRefusals(t *testing.T) {
	made := func(b *bench) { b.cluster(3, 2); b.plan() }
	for _, test := range []struct {
		name    string
		before  func(*bench)
		command Command
		field   string
	}{
		{"init twice", made, &Init{Cluster: "c2", Epoch: 1}, "cluster"},
		{"init without cluster", nil, &Init{}, "cluster"},
		{"init without epoch", nil, &Init{Cluster: "c"}, "epoch"},
		{"init without nodes", nil, &Init{Cluster: "c", Epoch: 1}, "nodes"},
		{"init without shards", nil, &Init{Cluster: "c", Epoch: 1, Nodes: []Join{store("n1")}}, "shards"},
		{"init with unknown founder", nil, &Init{Cluster: "c", Epoch: 1, Nodes: []Join{store("n1")}, Shards: [][]NewReplica{{{"r", "n2"}}}}, "node"},
		{"init with a name twice", nil, &Init{Cluster: "c", Epoch: 1, Nodes: []Join{store("n1"), {ID: "n2", Name: "name-n1", Address: "x:1", Roles: RoleStore}}, Shards: [][]NewReplica{{{"r", "n1"}}}}, "name"},
		{"init with negative hook bytes", nil, &Init{Cluster: "c", Epoch: 1, HookBytes: -1}, "hookBytes"},
		{"init of another's replicas", nil, &Init{Cluster: "c", Epoch: 1, Made: true, Nodes: []Join{store("n1"), store("n2")}, Shards: [][]NewReplica{{{SoloReplica, "n2"}}}}, "shards"},
		{"init with two replicas on a node", nil, &Init{Cluster: "c", Epoch: 1, Nodes: []Join{store("n1")}, Shards: [][]NewReplica{{{"r1", "n1"}, {"r2", "n1"}}}}, "shards"},
		{"init with an empty shard", nil, &Init{Cluster: "c", Epoch: 1, Nodes: []Join{store("n1")}, Shards: [][]NewReplica{nil}}, "shards"},
		{"init with four replicas", nil, &Init{Cluster: "c", Epoch: 1, Nodes: []Join{store("n1")}, Shards: [][]NewReplica{{{"r1", "n1"}, {"r2", "n1"}, {"r3", "n1"}, {"r4", "n1"}}}}, "shards"},
		{"join before init", nil, new(store("n1")), "cluster"},
		{"join without ID", made, &Join{Name: "a", Address: "x:1", Roles: RoleStore}, "id"},
		{"join without name", made, &Join{ID: "n9", Address: "x:1", Roles: RoleStore}, "name"},
		{"join with a space in the name", made, &Join{ID: "n9", Name: "a b", Address: "x:1", Roles: RoleStore}, "name"},
		{"join without port", made, &Join{ID: "n9", Name: "a", Address: "x", Roles: RoleStore}, "address"},
		{"join at all addresses", made, &Join{ID: "n9", Name: "a", Address: "0.0.0.0:1", Roles: RoleStore}, "address"},
		{"join at port 0", made, &Join{ID: "n9", Name: "a", Address: "x:0", Roles: RoleStore}, "address"},
		{"join without roles", made, &Join{ID: "n9", Name: "a", Address: "x:1"}, "roles"},
		{"join under another's address", made, &Join{ID: "n9", Name: "a", Address: "n1:7946", Roles: RoleStore}, "address"},
		{"store becomes gateway", made, &Join{ID: "n1", Name: "name-n1", Address: "n1:7946", Roles: RoleGateway}, "roles"},
		{"admit unknown", made, &Admit{Node: "n9"}, "node"},
		{"maintain unknown", made, &Maintain{Node: "n9", On: true}, "node"},
		{"remove unknown", made, &RemoveNode{Node: "n9"}, "node"},
		{"remove with too few others", made, &RemoveNode{Node: "n1"}, "node"},
		{"remove the last", func(b *bench) { b.cluster(1, 1); b.plan() }, &RemoveNode{Node: "n1", Fewer: true}, "node"},
		{"replace by itself", made, &ReplaceNode{Old: "n1", New: "n1"}, "new"},
		{"replace unknown", made, &ReplaceNode{Old: "n9", New: "n8"}, "old"},
		{"replace by a gateway", func(b *bench) {
			made(b)
			b.do(&Join{ID: "g", Name: "g", Address: "g:1", Roles: RoleGateway})
		}, &ReplaceNode{Old: "n1", New: "g"}, "new"},
		{"config of another version", made, &SetConfig{Expect: 7}, "expect"},
		{"config with negative hook bytes", made, &SetConfig{Expect: 1, HookBytes: -1}, "hookBytes"},
		{"replica of an unknown shard", made, &AddReplica{Shard: 2, NewReplica: NewReplica{"x", "n1"}}, "shard"},
		{"replica without ID", made, &AddReplica{Shard: 1, NewReplica: NewReplica{"", "n1"}}, "id"},
		{"replica with a path for an ID", made, &AddReplica{Shard: 1, NewReplica: NewReplica{"../x", "n1"}}, "id"},
		{"replica with a used ID", made, &AddReplica{Shard: 1, NewReplica: NewReplica{"r1", "n1"}}, "id"},
		{"second replica on a node", made, &AddReplica{Shard: 1, NewReplica: NewReplica{"x", "n1"}}, "node"},
		{"fourth replica", func(b *bench) {
			made(b)
			b.do(new(store("n4")))
			b.do(&Admit{Node: "n4"})
		}, &AddReplica{Shard: 1, NewReplica: NewReplica{"x", "n4"}}, "shard"},
		{"replica on a node in maintenance", func(b *bench) {
			made(b)
			b.do(new(store("n4")))
			b.do(&Admit{Node: "n4"})
			b.do(&Maintain{Node: "n4", On: true})
		}, &AddReplica{Shard: 1, NewReplica: NewReplica{"x", "n4"}}, "node"},
		{"made unknown", made, &ReplicaMade{Shard: 0, ID: "x"}, "id"},
		{"leave unknown", made, &LeaveReplica{Shard: 0, ID: "x"}, "id"},
		{"the last leaves", func(b *bench) { b.cluster(1, 1); b.plan() }, &LeaveReplica{Shard: 0, ID: "r1"}, "id"},
		{"remove who stays", made, &RemoveReplica{Shard: 0, ID: "r1"}, "id"},
		{"prefer unknown", made, &Prefer{Shard: 0, ID: "x"}, "id"},
		{"prefer who leaves", func(b *bench) { made(b); b.do(&LeaveReplica{Shard: 0, ID: "r1"}) }, &Prefer{Shard: 0, ID: "r1"}, "id"},
		{"the removed ID again", func(b *bench) {
			made(b)
			b.do(&LeaveReplica{Shard: 0, ID: "r1"})
			b.do(&RemoveReplica{Shard: 0, ID: "r1"})
		}, &AddReplica{Shard: 0, NewReplica: NewReplica{"r1", "n1"}}, "id"},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newBench(t)
			if test.before != nil {
				test.before(b)
			}
			err := b.apply(test.command)
			refusal, ok := errors.AsType[*Refusal](err)
			if !ok || refusal.Field != test.field || refusal.Rule == "" {
				t.Errorf("%+v = %v, want a refusal of %s", test.command, err, test.field)
			}
		})
	}
}

func TestConfigVersions(t *testing.T) {
	b := newBench(t)
	b.cluster(1, 1)
	set := &SetConfig{Expect: 1, Limits: command.Limits{OfflineTTL: time.Hour}, HookBytes: 3}
	b.do(set)
	want := Config{Version: 2, Limits: set.Limits, HookBytes: 3}
	if got := b.s.Map().Config; got != want {
		t.Errorf("Config = %+v, want %+v", got, want)
	}
	b.do(set) // a repeat
	if got := b.s.Map().Config; got != want {
		t.Errorf("Config after a repeat = %+v, want %+v", got, want)
	}
}

func TestVoters(t *testing.T) {
	for nodes, want := range map[int]int{1: 1, 2: 1, 3: 3, 4: 3, 5: 5, 7: 5} {
		b := newBench(t)
		b.cluster(nodes, 1)
		if got := b.s.Map().Voters(); len(got) != want || got[0] != "n1" {
			t.Errorf("Voters of %d nodes = %v, want %d", nodes, got, want)
		}
	}
	b := newBench(t)
	b.cluster(3, 1)
	b.do(&Join{ID: "g", Name: "g", Address: "g:1", Roles: RoleGateway})
	b.do(&Admit{Node: "g"})
	b.do(new(store("n5")))
	b.do(new(store("n6")))
	if got := b.s.Map().Voters(); !slices.Equal(got, []NodeID{"n1", "n2", "n3"}) {
		t.Errorf("Voters = %v, want neither gateways nor who is not admitted", got)
	}
}

// TestRandomCommands applies commands of all kinds about few nodes and replicas, most
// of them possible, and checks the map after each. Afterwards the plan must be able to
// repair whatever has come out.
func TestRandomCommands(t *testing.T) {
	for seed := range uint64(80) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 1))
			b := newBench(t)
			used := map[string]RetiredReplica{}
			b.cluster(1+rng.IntN(4), 1+rng.IntN(5))
			twin := reload(t, b.s)
			for range 150 {
				c := randomCommand(rng, b)
				err := b.apply(c)
				if again := twin.Apply(b.index, c); (err == nil) != (again == nil) || err != nil && err.Error() != again.Error() {
					t.Fatalf("%+v = %v, and %v at a twin", c, err, again)
				}
				if err == nil {
					version := b.s.Map().Version
					if err := b.apply(c); err != nil || b.s.Map().Version != version {
						t.Fatalf("%T%+v repeated = %v, version %d → %d", c, c, err, version, b.s.Map().Version)
					}
				}
				for _, sh := range b.s.Map().Shards {
					for _, r := range sh.Replicas {
						if was, known := used[r.ID]; known && was.Shard != sh.ID {
							t.Fatalf("replica ID %s is used again", r.ID)
						}
						used[r.ID] = RetiredReplica{sh.ID, r.ID}
					}
				}
				if rng.IntN(20) == 0 {
					twin = reload(t, twin)
				}
			}
			ours, _ := b.s.Snapshot()
			theirs, _ := twin.Snapshot()
			if string(ours) != string(theirs) {
				t.Fatalf("the same commands gave\n%s\n%s", ours, theirs)
			}
			b.plan()
		})
	}
}

func reload(t *testing.T, s *State) *State {
	t.Helper()
	data, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	again, err := Load(data)
	if err != nil {
		t.Fatalf("%s: %v", data, err)
	}
	return again
}

func randomCommand(rng *rand.Rand, b *bench) Command {
	m := b.s.Map()
	someNode := func() NodeID { return NodeID(fmt.Sprintf("n%d", 1+rng.IntN(7))) }
	shard := uint32(rng.IntN(len(m.Shards) + 1))
	someReplica := func() string {
		if sh := m.Shard(shard); sh != nil && len(sh.Replicas) > 0 && rng.IntN(10) > 0 {
			return sh.Replicas[rng.IntN(len(sh.Replicas))].ID
		}
		return fmt.Sprintf("r%d", 1+rng.IntN(b.ids))
	}
	switch rng.IntN(14) {
	case 12:
		return &DropNode{Node: someNode()}
	case 0:
		j := store(string(someNode()))
		if rng.IntN(4) == 0 {
			j.Name = "name-" + string(someNode())
		}
		if rng.IntN(4) == 0 {
			j.Roles = Roles(rng.IntN(4))
		}
		return &j
	case 1, 2:
		return &Admit{Node: someNode()}
	case 3:
		return &Maintain{Node: someNode(), On: rng.IntN(3) == 0}
	case 4:
		return &RemoveNode{Node: someNode(), Fewer: rng.IntN(2) == 0}
	case 5:
		return &ReplaceNode{Old: someNode(), New: someNode()}
	case 6:
		return &SetConfig{Expect: uint64(rng.IntN(4)), HookBytes: rng.IntN(5) - 1}
	case 7, 8:
		id := b.newID()
		if rng.IntN(4) == 0 {
			id = someReplica()
		}
		return &AddReplica{Shard: shard, NewReplica: NewReplica{ID: id, Node: someNode()}}
	case 9:
		return &ReplicaMade{Shard: shard, ID: someReplica()}
	case 10:
		return &LeaveReplica{Shard: shard, ID: someReplica()}
	case 11:
		return &RemoveReplica{Shard: shard, ID: someReplica()}
	default:
		return &Prefer{Shard: shard, ID: someReplica()}
	}
}

func TestClusterOfFounders(t *testing.T) {
	a, b, c := store("n1"), store("n2"), store("n3")
	one := clusterOf([]Join{a, b})
	moved := b
	moved.Address = "elsewhere:1"
	if again := clusterOf([]Join{a, moved}); again != one {
		t.Errorf("the same founders give %s and %s", one, again)
	}
	for _, others := range [][]Join{{a}, {a, c}, {a, b, c}} {
		if other := clusterOf(others); other == one || len(other) != 36 || other[14] != '8' {
			t.Errorf("clusterOf(%v) = %s", others, other)
		}
	}
}
