package admin

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
)

// A fakeCluster is two healthy nodes, and remembers what it was told. It knows no node
// but a and b.
type fakeCluster struct {
	mu     sync.Mutex
	told   []string
	config store.ClusterConfig
	lost   bool // b is

	condition store.NodeCondition // of b
}

func newFakeCluster() *fakeCluster {
	return &fakeCluster{config: store.ClusterConfig{Version: 3, Limits: command.Limits{}.WithDefaults(), HookBytes: 7}}
}

func (c *fakeCluster) Status(context.Context) (*store.ClusterStatus, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &store.ClusterStatus{Cluster: "c1", Version: 9, Asked: "a", Leader: "a", Voters: []string{"a"}, Config: c.config}
	state := store.NodeConnected
	if c.lost {
		state = store.NodeLost
	}
	s.Nodes = []store.NodeStatus{
		{ID: "id-a", Name: "a", Address: "a:1", Roles: "gateway,store", State: store.NodeSelf, Admitted: true, Leads: 1, Replicas: 1},
		{ID: "id-b", Name: "b", Address: "b:1", Roles: "gateway,store", State: state, Admitted: true, Replicas: 1},
	}
	s.Nodes[1].NodeCondition = c.condition
	s.Shards = []store.ShardStatus{{ID: 0, Slots: 16384, Leader: "a", Wanted: 2, Replicas: []store.ReplicaStatus{
		{ID: "r1", Node: "a", State: store.ReplicaLeader, Up: true, CaughtUp: true},
		{ID: "r2", Node: "b", State: store.ReplicaFollower, Up: !c.lost, CaughtUp: !c.lost},
	}}}
	return s, nil
}

func (c *fakeCluster) tell(node, format string, args ...any) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if node != "a" && node != "b" {
		return &store.ClusterError{Field: "node", Rule: fmt.Sprintf("there is no node %q", node)}
	}
	c.told = append(c.told, fmt.Sprintf(format, args...))
	return nil
}

func (c *fakeCluster) Admit(_ context.Context, node string) error {
	return c.tell(node, "admit %s", node)
}

func (c *fakeCluster) Maintain(_ context.Context, node string, on bool) error {
	return c.tell(node, "maintain %s %v", node, on)
}

func (c *fakeCluster) RemoveNode(_ context.Context, node string, fewer bool) error {
	return c.tell(node, "remove %s %v", node, fewer)
}

func (c *fakeCluster) ReplaceNode(_ context.Context, old, new string) error {
	return c.tell(old, "replace %s %s", old, new)
}

func (c *fakeCluster) SetConfig(_ context.Context, expect uint64, limits command.Limits, hookBytes int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if expect != c.config.Version {
		return &store.ClusterError{Field: "expect", Rule: "look at it again"}
	}
	c.config = store.ClusterConfig{Version: expect + 1, Limits: limits, HookBytes: hookBytes}
	return nil
}

func (c *fakeCluster) Transfer(_ context.Context, shard uint32, node string) error {
	return c.tell(node, "transfer %d %s", shard, node)
}

func (c *fakeCluster) RebuildReplica(_ context.Context, shard uint32, node string) error {
	return c.tell(node, "rebuild %d %s", shard, node)
}

func TestClusterCalls(t *testing.T) {
	c := newFakeCluster()
	s := newServer(t, func(config *Config) { config.Cluster = c })
	for _, test := range []struct {
		path string
		body obj
		told string // "" = refused
	}{
		{"admit", obj{"node": "b"}, "admit b"},
		{"admit", obj{"node": "z"}, ""},
		{"maintenance", obj{"node": "b", "on": true}, "maintain b true"},
		{"remove-node", obj{"node": "b"}, "remove b false"},
		{"remove-node", obj{"node": "b", "fewer": true}, "remove b true"},
		{"replace-node", obj{"old": "b", "new": "id-c"}, "replace b id-c"},
		{"transfer", obj{"shard": 0, "node": "b"}, "transfer 0 b"},
		{"rebuild-replica", obj{"shard": 0, "node": "b"}, "rebuild 0 b"},
	} {
		c.told = nil
		status, reply := s.call("POST", "/v1/cluster/"+test.path, test.body)
		if test.told == "" {
			if status != 409 || !strings.Contains(fmt.Sprint(reply["message"]), `node: there is no node "z"`) {
				t.Errorf("%s %v = %d %v, want 409 with field and rule", test.path, test.body, status, reply)
			}
			continue
		}
		if status != 204 || strings.Join(c.told, ";") != test.told {
			t.Errorf("%s %v = %d %v, told %q, want %q", test.path, test.body, status, reply, c.told, test.told)
		}
	}
}

func TestClusterScope(t *testing.T) {
	s := newServer(t, func(config *Config) { config.Cluster = newFakeCluster() })
	for token, want := range map[string]int{allToken: 200, otherToken: 200, readToken: 403, writeToken: 403, "": 401} {
		resp, _ := s.do(s.request("GET", "/v1/cluster", token, nil))
		if resp.StatusCode != want {
			t.Errorf("with token %q: %d, want %d", token, resp.StatusCode, want)
		}
	}
}

func TestClusterVerdict(t *testing.T) {
	c := newFakeCluster()
	s := newServer(t, func(config *Config) { config.Cluster = c })
	_, reply := s.call("GET", "/v1/cluster", nil)
	if reply["level"] != 0.0 || reply["verdict"] != "healthy; does not survive the loss of a node" {
		t.Errorf("verdict = %v %v", reply["level"], reply["verdict"])
	}
	_, reply = s.call("GET", "/v1/cluster/safe-to-stop?nodes=b", nil)
	if reply["safe"] != false {
		t.Errorf("safe to stop b = %v, though shard 0 would have no majority", reply)
	}
	c.lost = true
	_, reply = s.call("GET", "/v1/cluster", nil)
	if reply["level"] != 1.0 || len(reply["problems"].([]any)) != 2 {
		t.Errorf("with b lost: %v", reply)
	}
	if status, reply := s.call("GET", "/v1/cluster/safe-to-stop?nodes=a,z", nil); status != 400 {
		t.Errorf("of an unknown node: %d %v", status, reply)
	}
}

func TestClusterCondition(t *testing.T) {
	c := newFakeCluster()
	c.condition = store.NodeCondition{
		ClockOffset: -1500 * time.Millisecond, LeadsNothing: "its disk has hung", Draining: true, SlowDisk: true, DiskLow: true, MemoryFull: true, FlagsDiffer: []string{"recents"},
	}
	s := newServer(t, func(config *Config) { config.Cluster = c })
	_, reply := s.call("GET", "/v1/cluster", nil)
	b := reply["nodes"].([]any)[1].(map[string]any)
	for name, want := range map[string]any{"clockOffset": -1.5, "leadsNothing": "its disk has hung", "draining": true, "slowDisk": true, "diskLow": true, "memoryFull": true} {
		if b[name] != want {
			t.Errorf("%s = %v, want %v", name, b[name], want)
		}
	}
	if fmt.Sprint(b["flagsDiffer"]) != "[recents]" || len(reply["warnings"].([]any)) != 1 || len(reply["problems"].([]any)) != 5 {
		t.Errorf("flags %v, warnings %v, problems %v", b["flagsDiffer"], reply["warnings"], reply["problems"])
	}
}

func TestClusterConfigCalls(t *testing.T) {
	c := newFakeCluster()
	s := newServer(t, func(config *Config) { config.Cluster = c })
	for _, test := range []struct {
		body   obj
		status int
	}{
		{obj{"offlineTtl": 3600, "groupRate": -1, "hookBytes": 0}, 204},
		{obj{"version": 3, "recents": 5}, 409},
		{obj{"version": 4, "recents": 5}, 204},
		{obj{"recents": 0}, 400},
		{obj{"recents": -1}, 400},
		{obj{"newConversations": 0}, 400},
		{obj{"userBytes": 10}, 400},
		{obj{"offlineTtl": 1000000}, 400},
		{obj{"colour": 1}, 400},
	} {
		if status, reply := s.call("PATCH", "/v1/cluster/config", test.body); status != test.status {
			t.Errorf("%v = %d %v, want %d", test.body, status, reply, test.status)
		}
	}
	_, reply := s.call("GET", "/v1/cluster/config", nil)
	for name, want := range map[string]any{"version": 5.0, "offlineTtl": 3600.0, "groupRate": -1.0, "recents": 5.0, "historyTtl": 604800.0} {
		if reply[name] != want {
			t.Errorf("%s = %v, want %v", name, reply[name], want)
		}
	}
}

// TestNoClusterNoCalls asks a node that stands alone.
func TestNoClusterNoCalls(t *testing.T) {
	s := newServer(t, func(config *Config) { config.Cluster = nil })
	if status, reply := s.call("GET", "/v1/cluster", nil); status != 404 {
		t.Errorf("GET /v1/cluster = %d %v, want 404", status, reply)
	}
}
