package store

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// threeNodes returns a healthy cluster of nodes a, b and c with two shards.
func threeNodes() *ClusterStatus {
	s := &ClusterStatus{Cluster: "c1", Version: 9, Asked: "a", Leader: "b", Voters: []string{"a", "b", "c"}}
	for i, name := range s.Voters {
		state := NodeConnected
		if i == 0 {
			state = NodeSelf
		}
		s.Nodes = append(s.Nodes, NodeStatus{ID: "id-" + name, Name: name, State: state, Store: true, Admitted: true})
	}
	for id := range uint32(2) {
		sh := ShardStatus{ID: id, Slots: 8192, Leader: s.Voters[id], Wanted: 3}
		for i, name := range s.Voters {
			state := ReplicaFollower
			if i == int(id) {
				state = ReplicaLeader
			}
			sh.Replicas = append(sh.Replicas, ReplicaStatus{ID: fmt.Sprintf("r%d%s", id, name), Node: name, State: state, Up: true, CaughtUp: true})
		}
		s.Shards = append(s.Shards, sh)
	}
	return s
}

// lose takes a node away, and with it the leaderships to another one.
func lose(s *ClusterStatus, name string) {
	s.Node(name).State = NodeLost
	for i := range s.Shards {
		for k := range s.Shards[i].Replicas {
			if r := &s.Shards[i].Replicas[k]; r.Node == name {
				r.Up, r.CaughtUp, r.State = false, false, ReplicaFollower
			}
		}
		if s.Shards[i].Leader == name {
			s.Shards[i].Leader = "b"
		}
	}
}

func TestVerdict(t *testing.T) {
	for _, test := range []struct {
		name     string
		change   func(*ClusterStatus)
		level    Level
		survives int
		text     string
		problem  string // in the list; "" = the list is empty
	}{
		{"healthy", func(*ClusterStatus) {}, Healthy, 1, "healthy; survives the loss of 1 more node", ""},
		{"one lost", func(s *ClusterStatus) { lose(s, "c") }, Degraded, 0, "degraded; does not survive the loss of a node", "node c is not reached"},
		{"no leader of a shard", func(s *ClusterStatus) { s.Shards[1].Leader = "" }, Down, -1, "not all is served: shard 1 has no leader that node a knows", "shard 1 has no leader"},
		{"no leader of placement", func(s *ClusterStatus) { s.Leader = "" }, Down, -1, "not all is served: no leader of placement", "no leader of placement"},
		{"lagging", func(s *ClusterStatus) { r := &s.Shards[0].Replicas[2]; r.CaughtUp, r.Lag = false, 700 }, Degraded, 0, "degraded; does not", "shard 0: the replica on node c lacks 700 entries"},
		{"learner", func(s *ClusterStatus) { s.Shards[0].Replicas[2].State = ReplicaLearner }, Degraded, 0, "degraded; does not", "shard 0: the replica on node c has no vote yet"},
		{"refused", func(s *ClusterStatus) { s.Shards[0].Replicas[2].Problem = "was emptied" }, Degraded, 0, "degraded; does not", "is not open: was emptied"},
		{"too few", func(s *ClusterStatus) { s.Shards[0].Replicas = s.Shards[0].Replicas[:2] }, Degraded, 0, "degraded; does not", "shard 0 has 2 of 3 replicas"},
		{"not admitted", func(s *ClusterStatus) {
			s.Nodes = append(s.Nodes, NodeStatus{Name: "d", State: NodeConnected})
		}, Degraded, 1, "degraded; survives the loss of 1", "belfry cluster admit d"},
		{"maintenance", func(s *ClusterStatus) { s.Nodes[1].Maintenance = true }, Degraded, 1, "degraded; survives the loss of 1", "node b is in maintenance"},
		{"stopped", func(s *ClusterStatus) { r := &s.Shards[0].Replicas[2]; r.Stopped, r.Problem = true, "of its checksums" }, Degraded, 0, "degraded; does not", "shard 0: the replica on node c has stopped: of its checksums"},
		{"diverged", func(s *ClusterStatus) { s.Shards[0].Replicas[2].Diverged = true }, Degraded, 1, "degraded; survives", "shard 0: the replica on node c differs from another one"},
		{"clock", func(s *ClusterStatus) { s.Nodes[1].ClockOffset = -2300 * time.Millisecond }, Degraded, 1, "degraded", "node b has a clock that is 2.3s off the others'"},
		{"clock a little off", func(s *ClusterStatus) { s.Nodes[1].ClockOffset = time.Second }, Healthy, 1, "healthy", ""},
		{"clock far off", func(s *ClusterStatus) {
			n := &s.Nodes[1]
			n.ClockOffset, n.LeadsNothing = 6*time.Second, "of its clock"
		}, Degraded, 1, "degraded", "node b has a clock that is 6s off the others' and leads nothing"},
		{"slow disk", func(s *ClusterStatus) { n := &s.Nodes[1]; n.SlowDisk, n.LeadsNothing = true, "its disk has hung" }, Degraded, 1, "degraded", "node b has a slow disk and leads nothing"},
		{"draining", func(s *ClusterStatus) { n := &s.Nodes[1]; n.Draining, n.LeadsNothing = true, "it is being drained" }, Degraded, 1, "degraded", "node b is being drained and leads nothing"},
		{"disk low", func(s *ClusterStatus) { s.Nodes[1].DiskLow = true }, Degraded, 1, "degraded", "node b has a disk that is nearly full"},
		{"memory full", func(s *ClusterStatus) { s.Nodes[1].MemoryFull = true }, Degraded, 1, "degraded", "node b has no memory left for messages"},
		{"flags", func(s *ClusterStatus) { s.Nodes[1].FlagsDiffer = []string{"recents"} }, Healthy, 1, "healthy", ""},
		{"says so itself", func(s *ClusterStatus) { s.Nodes[1].Problems = []string{"has a slow disk"} }, Degraded, 1, "degraded", "node b has a slow disk"},
		{"waiting", func(s *ClusterStatus) { s.Waiting = "an administrator" }, Down, -1, "not in a cluster yet; waits for an administrator", ""},
		{"alone", func(s *ClusterStatus) {
			s.Nodes, s.Voters, s.Leader = s.Nodes[:1], s.Voters[:1], "a"
			for i := range s.Shards {
				s.Shards[i].Replicas, s.Shards[i].Wanted, s.Shards[i].Leader = s.Shards[i].Replicas[:1], 1, "a"
			}
		}, Healthy, 0, "healthy; does not survive the loss of a node", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := threeNodes()
			test.change(s)
			v := s.Verdict()
			if v.Level != test.level || v.Survives != test.survives || !strings.HasPrefix(v.Text, test.text) {
				t.Errorf("Verdict = %+v, want level %d, %d, %q", v, test.level, test.survives, test.text)
			}
			if test.problem == "" && len(v.Problems) > 0 || test.problem != "" && !strings.Contains(strings.Join(v.Problems, "\n"), test.problem) {
				t.Errorf("Problems = %q, want %q", v.Problems, test.problem)
			}
		})
	}
}

// Flags that differ are told of, and are no fault.
func TestWarnings(t *testing.T) {
	s := threeNodes()
	if v := s.Verdict(); len(v.Warnings) > 0 {
		t.Errorf("Warnings = %q, want none", v.Warnings)
	}
	s.Nodes[1].FlagsDiffer = []string{"offline-ttl", "recents"}
	if v := s.Verdict(); len(v.Warnings) != 1 || !strings.HasPrefix(v.Warnings[0], "node b has flags that differ") || !strings.HasSuffix(v.Warnings[0], ": offline-ttl, recents") {
		t.Errorf("Warnings = %q, want one about b with both flags", v.Warnings)
	}
}

func TestObstacles(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*ClusterStatus)
		stop   []string
		want   []string // parts of the reasons; none = they may stop
	}{
		{"one", func(*ClusterStatus) {}, []string{"a"}, nil},
		{"none", func(*ClusterStatus) {}, nil, nil},
		{"two", func(*ClusterStatus) {}, []string{"a", "b"}, []string{"placement would have 1 of 3", "shard 0 would have 1 of 3", "shard 1 would have 1 of 3"}},
		{"a second one", func(s *ClusterStatus) { lose(s, "c") }, []string{"a"}, []string{"node c is not reached already", "placement would have 1 of 3", "shard 0: the replica on node c is not reached"}},
		{"the lost one itself", func(s *ClusterStatus) { lose(s, "c") }, []string{"c"}, nil},
		{"while another catches up", func(s *ClusterStatus) { r := &s.Shards[1].Replicas[2]; r.CaughtUp, r.Lag = false, 300 }, []string{"a"}, []string{"shard 1: the replica on node c lacks 300 entries"}},
		{"without leader", func(s *ClusterStatus) { s.Shards[1].Leader = "" }, []string{"a"}, []string{"shard 1 has no leader"}},
		{"without placement", func(s *ClusterStatus) { s.Leader = "" }, []string{"a"}, []string{"no leader of placement"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := threeNodes()
			test.change(s)
			got := s.Obstacles(test.stop)
			if len(test.want) == 0 && len(got) > 0 {
				t.Errorf("Obstacles = %q, want none", got)
			}
			for _, want := range test.want {
				if !slices.ContainsFunc(got, func(o string) bool { return strings.Contains(o, want) }) {
					t.Errorf("Obstacles = %q, want %q", got, want)
				}
			}
		})
	}
}

func TestWithoutReplica(t *testing.T) {
	s := threeNodes()
	if lacks := s.Shards[0].WithoutReplica("r0c"); lacks != "" {
		t.Errorf("without a follower: %s", lacks)
	}
	lose(s, "b")
	if lacks := s.Shards[0].WithoutReplica("r0c"); lacks != "shard 0 would have 1 of 3 voters" {
		t.Errorf("without a second one: %q", lacks)
	}
	if lacks := s.Shards[0].WithoutReplica("r0b"); lacks != "" {
		t.Errorf("without the lost one: %s", lacks)
	}
	s.Shards[0].Leader = ""
	if lacks := s.Shards[0].WithoutReplica("r0b"); lacks != "shard 0 has no leader" {
		t.Errorf("without leader: %q", lacks)
	}
}
