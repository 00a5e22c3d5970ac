package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/belfry-im/belfry/raftstore"
	"github.com/belfry-im/belfry/raftstore/placement"
	"github.com/belfry-im/belfry/raftstore/replica"
	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/raftstore/versions"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// A machine is what a node of a test has, whether or not it runs.
type machine struct {
	t       *testing.T
	name    string
	dir     string
	address string
	node    *Node // nil while it does not run
}

// lastPort is the port that was given to a machine last. Ports are below those that the
// kernel gives to outgoing connections, which could take one while its node is stopped.
var lastPort atomic.Int32

func init() { lastPort.Store(int32(20_000 + os.Getpid()%1000*10)) }

// machines returns machines named a, b, c …
func machines(t *testing.T, n int) []*machine {
	t.Helper()
	var all []*machine
	for len(all) < n {
		address := fmt.Sprintf("127.0.0.1:%d", lastPort.Add(1))
		l, err := net.Listen("tcp", address)
		if err != nil {
			continue
		}
		l.Close()
		name := string(rune('a' + len(all)))
		m := &machine{t: t, name: name, dir: filepath.Join(t.TempDir(), name), address: address}
		all = append(all, m)
		t.Cleanup(m.stop)
	}
	return all
}

func addresses(all []*machine) []string {
	var list []string
	for _, m := range all {
		list = append(list, m.address)
	}
	return list
}

func (m *machine) storeConfig() raftstore.Config {
	cfg := raftstore.Config{Dir: m.dir, Node: m.name, DiskReserve: -1, Limits: command.Limits{NewConversations: -1}}
	if os.Getenv("BELFRY_TEST_LOG") != "" {
		cfg.Log = slog.New(slog.NewTextHandler(m.t.Output(), nil)).With("node", m.name)
	}
	return cfg
}

// start runs the node with the roles of both kinds.
func (m *machine) start(c Config) {
	m.t.Helper()
	c.Listen, c.Advertise, c.Roles = m.address, m.address, placement.RoleGateway|placement.RoleStore
	n, err := Open(m.storeConfig(), c)
	if err != nil {
		m.t.Fatalf("node %s: %v", m.name, err)
	}
	m.node = n
}

func (m *machine) stop() {
	if n := m.node; n != nil {
		m.node = nil
		if err := n.Close(); err != nil {
			m.t.Errorf("Close of node %s: %v", m.name, err)
		}
	}
}

// eventually polls until ok, with a deadline that only a broken build reaches.
func eventually(t *testing.T, what string, ok func() (bool, any)) {
	t.Helper()
	var last any
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		var done bool
		if done, last = ok(); done {
			return
		}
	}
	t.Fatalf("not within two minutes: %s; last: %+v", what, last)
}

// healthy waits until the cluster is, as the machine sees it.
func (m *machine) healthy(survives int) *store.ClusterStatus {
	m.t.Helper()
	var s *store.ClusterStatus
	eventually(m.t, fmt.Sprintf("a cluster that survives the loss of %d", survives), func() (bool, any) {
		s = m.status()
		v := s.Verdict()
		return v.Level == store.Healthy && v.Survives == survives && m.node.Ready() == nil, v
	})
	return s
}

func (m *machine) status() *store.ClusterStatus {
	m.t.Helper()
	s, err := m.node.Status(m.t.Context())
	if err != nil {
		m.t.Fatal(err)
	}
	return s
}

// send sends message i from alice to bob through the machine, until it is answered.
func (m *machine) send(i int) {
	m.t.Helper()
	cmd := &command.Send{
		User: "alice", To: "bob", CID: fmt.Sprint(i), Body: []byte{0xa1, 'x'},
		ID: command.MsgID{0, 0, 0, 0, 0, 1, 15: byte(i)},
	}
	eventually(m.t, "a message is sent", func() (bool, any) {
		r, err := m.node.Store().Propose(m.t.Context(), cmd)
		return err == nil && r.Err() == nil, []any{r, err}
	})
}

// holds waits until bob has n messages, as the machine reads them.
func (m *machine) holds(n int) {
	m.t.Helper()
	eventually(m.t, fmt.Sprintf("%d messages at node %s", n, m.name), func() (bool, any) {
		var page query.Page
		err := m.node.Store().History(query.HistoryQuery{User: "bob", Peer: "alice", Limit: 100, MaxBytes: 1 << 20}, &page)
		return err == nil && len(page.Updates.Messages) == n, []any{len(page.Updates.Messages), err}
	})
}

func TestThreeNodes(t *testing.T) {
	t.Parallel()
	all := machines(t, 3)
	config := Config{Join: addresses(all), Expect: 3}
	for _, m := range all {
		m.start(config)
	}
	for _, m := range all {
		s := m.healthy(1)
		if len(s.Nodes) != 3 || len(s.Shards) != 3 || s.Asked != m.name || len(s.Voters) != 3 || s.Leader == "" {
			t.Errorf("status of %s = %+v", m.name, s)
		}
	}
	for i, m := range all {
		m.send(i)
	}
	for _, m := range all {
		m.holds(3)
	}
	a := all[0].node
	eventually(t, "c may be stopped", func() (bool, any) { // a busy machine may elect anew meanwhile
		reasons := all[0].status().Obstacles([]string{"c"})
		return len(reasons) == 0, reasons
	})

	// A change of the configuration reaches all, and the flags of a node do not.
	limits := all[0].status().Config.Limits
	limits.Recents = 7
	if err := a.SetConfig(t.Context(), 1, limits, 0); err != nil {
		t.Fatal(err)
	}
	if err := a.SetConfig(t.Context(), 1, command.Limits{}, 0); !isRefusal(err, "expect") {
		t.Errorf("SetConfig of an old version = %v, want a refusal", err)
	}

	// Without c the others go on, and say so.
	all[2].stop()
	eventually(t, "c is missed", func() (bool, any) {
		v := all[0].status().Verdict()
		return v.Level == store.Degraded && v.Survives == 0 && slices.Contains(v.Problems, "node c is not reached"), v
	})
	all[0].send(3)
	if reasons := all[0].status().Obstacles([]string{"b"}); len(reasons) == 0 {
		t.Error("b may be stopped while c is away")
	}
	// Without b and c nothing can be changed, and a still knows what there is.
	all[1].stop()
	eventually(t, "b and c are missed", func() (bool, any) {
		v := all[0].status().Verdict()
		return v.Level == store.Down && v.Survives < 0, v
	})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	// It may be made once they are back, so it is one that changes nothing.
	if err := a.Maintain(ctx, "c", false); !errors.Is(err, store.ErrUnknown) {
		t.Errorf("a change without quorum = %v, want ErrUnknown", err)
	}
	// They come back with the same flags, and found nothing anew.
	status := all[0].status()
	cluster := status.Cluster
	for name, want := range map[string]string{"a": "1", "b": ""} {
		if got := status.Node(name).Speaks[versions.Exchange]; got != want {
			t.Errorf("%s reads %q of Exchange, want %q", name, got, want)
		}
	}
	all[1].start(config)
	all[2].start(config)
	if s := all[2].healthy(1); s.Cluster != cluster || s.Config.Version != 2 || s.Config.Limits.Recents != 7 {
		t.Errorf("after the restart: cluster %s, configuration %+v", s.Cluster, s.Config)
	}
	for _, m := range all {
		m.holds(4)
	}
}

// isRefusal reports whether err is a ClusterError about a field.
func isRefusal(err error, field string) bool {
	refused, ok := errors.AsType[*store.ClusterError](err)
	return ok && refused.Field == field && refused.Rule != ""
}

// TestOneBecomesThree lets two nodes join one that has data of the time before.
func TestOneBecomesThree(t *testing.T) {
	t.Parallel()
	all := machines(t, 4)
	alone, err := raftstore.Open(all[0].storeConfig())
	if err != nil {
		t.Fatal(err)
	}
	send := &command.Send{User: "alice", To: "bob", CID: "0", Body: []byte{0xa1, 'x'}, ID: command.MsgID{0, 0, 0, 0, 0, 1}}
	if r, err := alone.Propose(t.Context(), send); err != nil || r.Err() != nil {
		t.Fatal(r, err)
	}
	if err := alone.Close(); err != nil {
		t.Fatal(err)
	}
	if n, err := Open(all[0].storeConfig(), Config{Listen: all[0].address, Advertise: all[0].address, Roles: placement.RoleStore, Join: addresses(all)}); err == nil {
		n.Close()
		t.Fatal("a node with data joined another cluster")
	}
	all[0].start(Config{})
	all[0].healthy(0)
	all[0].holds(1)
	join := Config{Join: []string{all[0].address}}
	all[1].start(join)
	eventually(t, "b waits to be admitted", func() (bool, any) {
		err := all[1].node.Ready()
		return err != nil && strings.Contains(err.Error(), "belfry cluster admit b"), err
	})
	if err := all[1].node.Admit(t.Context(), "b"); err == nil {
		t.Error("a node that is in no cluster yet admitted itself")
	}
	if err := all[0].node.Admit(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	all[2].start(join)
	eventually(t, "c joins", func() (bool, any) { return all[0].node.Admit(t.Context(), "c") == nil, nil })
	s := all[1].healthy(1)
	if len(s.Shards) != 1 || len(s.Shards[0].Replicas) != 3 {
		t.Errorf("shards = %+v", s.Shards)
	}
	all[1].send(1)
	if err := all[2].node.Transfer(t.Context(), 0, "b"); err != nil {
		t.Errorf("Transfer = %v", err)
	}

	// The first node is lost, and another takes its place.
	all[0].stop()
	all[3].start(Config{Join: []string{all[1].address, all[2].address}})
	eventually(t, "d takes the place of a", func() (bool, any) {
		err := all[2].node.ReplaceNode(t.Context(), "a", "d")
		return err == nil, err
	})
	s = all[3].healthy(1)
	if s.Node("a") != nil || s.Shards[0].Replicas[0].Node == "a" {
		t.Errorf("a is still there: %+v", s)
	}
	all[3].holds(2)
	// What was the first node comes back, and is told.
	all[0].start(Config{})
	eventually(t, "a ends", func() (bool, any) {
		err := all[0].node.Failure()
		return errors.Is(err, placement.ErrRemoved), err
	})
}

// TestShardNeverOpened lets a node alone begin a cluster that was ended before it had
// opened all of its shards.
func TestShardNeverOpened(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{replica.LogWAL, replica.LogBolt, replica.LogShared} {
		t.Run(kind, func(t *testing.T) {
			m := machines(t, 1)[0]
			cfg := m.storeConfig()
			cfg.Shards, cfg.RaftLog = 3, kind
			alone, err := raftstore.Open(cfg)
			if err != nil {
				t.Fatal(err)
			}
			if err := alone.Close(); err != nil {
				t.Fatal(err)
			}
			file := "stable.db"
			if kind == replica.LogShared {
				file = "snapshots"
			}
			if err := errors.Join(os.RemoveAll(filepath.Join(m.dir, "shard-0001")), os.Remove(filepath.Join(m.dir, "shard-0002", file))); err != nil {
				t.Fatal(err)
			}
			n, err := Open(cfg, Config{Listen: m.address, Advertise: m.address, Roles: placement.RoleGateway | placement.RoleStore})
			if err != nil {
				t.Fatal(err)
			}
			m.node = n
			if s := m.healthy(0); len(s.Shards) != 3 {
				t.Errorf("shards = %+v", s.Shards)
			}
			m.send(0)
		})
	}
}

// TestLostReplica wipes a replica's folder, the votes of another one, those of placement,
// and the whole node.
func TestLostReplica(t *testing.T) {
	t.Parallel()
	all := machines(t, 3)
	config := Config{Join: addresses(all), Expect: 3}
	for _, m := range all {
		m.start(config)
	}
	all[0].healthy(1)
	all[0].send(0)
	all[2].stop()
	dirs, err := filepath.Glob(filepath.Join(all[2].dir, "shard-0001-*"))
	votes, err2 := filepath.Glob(filepath.Join(all[2].dir, "shard-0002-*", "stable.db"))
	if err := errors.Join(err, err2); err != nil || len(dirs) != 1 || len(votes) != 1 {
		t.Fatalf("folders of shard 1: %v, votes of shard 2: %v, %v", dirs, votes, err)
	}
	if err := errors.Join(os.RemoveAll(dirs[0]), os.Remove(votes[0])); err != nil {
		t.Fatal(err)
	}
	all[2].start(config)
	for _, mend := range []string{"belfry cluster rebuild-replica 1 c", "belfry cluster rebuild-replica 2 c"} {
		eventually(t, "the replica is refused, with what mends it", func() (bool, any) {
			v := all[0].status().Verdict()
			return strings.Contains(strings.Join(v.Problems, "\n"), mend), v
		})
	}
	eventually(t, "shard 2 is made anew", func() (bool, any) { // refused while it has no majority to copy
		err := all[0].node.RebuildReplica(t.Context(), 2, "c")
		return err == nil, err
	})
	if err := all[0].node.RebuildReplica(t.Context(), 1, "z"); !isRefusal(err, "node") {
		t.Errorf("RebuildReplica on an unknown node = %v", err)
	}
	if err := all[0].node.RebuildReplica(t.Context(), 1, "c"); err != nil {
		t.Fatal(err)
	}
	all[0].healthy(1)
	again, err := filepath.Glob(filepath.Join(all[2].dir, "shard-0001-*"))
	if err != nil || len(again) != 1 || again[0] == dirs[0] {
		t.Errorf("folders of shard 1 = %v, want one with another ID than %s", again, dirs[0])
	}

	// Without its votes in placement the node is refused.
	all[2].stop()
	c := Config{Listen: all[2].address, Advertise: all[2].address, Roles: placement.RoleStore, Join: config.Join, Expect: 3}
	for _, lost := range []string{"placement/raft.db", "placement"} {
		if err := os.RemoveAll(filepath.Join(all[2].dir, lost)); err != nil {
			t.Fatal(err)
		}
		if n, err := Open(all[2].storeConfig(), c); err == nil || !strings.Contains(err.Error(), "replace-node") {
			t.Errorf("Open without %s = %v, %v", lost, n, err)
		}
	}
	// It comes back empty under its name: the UUID that it logs is named to the others.
	if err := os.RemoveAll(all[2].dir); err != nil {
		t.Fatal(err)
	}
	all[2].start(config)
	eventually(t, "c is refused, with what mends it", func() (bool, any) {
		err := all[2].node.Ready()
		return err != nil && strings.Contains(err.Error(), "belfry cluster replace-node c "+string(all[2].node.data.Node())), err
	})
	if err := all[0].node.ReplaceNode(t.Context(), "c", string(all[2].node.data.Node())); err != nil {
		t.Fatal(err)
	}
	all[2].healthy(1)
	all[2].holds(1)
}
