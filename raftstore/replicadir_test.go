package raftstore

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/belfry-im/belfry/raftstore/link"
	"github.com/belfry-im/belfry/raftstore/placement"
	"github.com/belfry-im/belfry/raftstore/replica"
)

func TestPrepareReplicaDir(t *testing.T) {
	other := func(have replicaInfo) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			if err := os.MkdirAll(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := writeFile(filepath.Join(dir, replicaFile), have); err != nil {
				t.Fatal(err)
			}
		}
	}
	// made is other, with the files of a replica, but for those without.
	made := func(have replicaInfo, without ...string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			other(have)(t, dir)
			cfg := testConfig(t)
			cfg, err := cfg.withDefaults()
			if err != nil {
				t.Fatal(err)
			}
			if err := replica.MakeFiles(&replica.Config{Dir: dir, RaftLog: cfg.RaftLog, SegmentBytes: cfg.SegmentBytes, Log: cfg.Log}); err != nil {
				t.Fatal(err)
			}
			for _, name := range without {
				if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	cut := func(t *testing.T, dir string) {
		made(replicaInfo{"c1", 3, "r1", 5})(t, dir)
		if err := os.Truncate(filepath.Join(dir, "stable.db"), 100); err != nil {
			t.Fatal(err)
		}
	}
	file := func(name string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			if err := os.MkdirAll(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	const mend = "belfry cluster rebuild-replica 3 a"
	for _, test := range []struct {
		name    string
		replica placement.Replica
		before  func(*testing.T, string)
		want    string // of the error; "" for none
	}{
		{"new", placement.Replica{ID: "r1"}, nil, ""},
		{"empty", placement.Replica{ID: "r1"}, func(t *testing.T, dir string) { os.MkdirAll(dir, 0o700) }, ""},
		{"there", placement.Replica{ID: "r1", Made: true}, made(replicaInfo{"c1", 3, "r1", 5}), ""},
		{"without votes", placement.Replica{ID: "r1", Made: true}, made(replicaInfo{"c1", 3, "r1", 5}, "stable.db"), mend},
		{"without its log", placement.Replica{ID: "r1", Made: true}, made(replicaInfo{"c1", 3, "r1", 5}, "log"), mend},
		{"with votes that are cut off", placement.Replica{ID: "r1", Made: true}, cut, mend},
		{"with nothing but its name", placement.Replica{ID: "r1", Made: true}, other(replicaInfo{"c1", 3, "r1", 5}), mend},
		{"there but not noted", placement.Replica{ID: "r1"}, other(replicaInfo{"c1", 3, "r1", 5}), ""},
		{"left over", placement.Replica{ID: "r2"}, other(replicaInfo{"c1", 3, "r1", 5}), ""},
		{"of before the cluster", placement.Replica{ID: placement.SoloReplica, Made: true}, file("stable.db"), ""},
		{"of before the cluster and emptied", placement.Replica{ID: placement.SoloReplica, Made: true}, nil, mend},
		{"wiped", placement.Replica{ID: "r1", Made: true}, nil, mend},
		{"wiped but for files", placement.Replica{ID: "r1", Made: true}, file("stable.db"), mend},
		{"restored from an older one", placement.Replica{ID: "r2", Made: true}, other(replicaInfo{"c1", 3, "r1", 5}), mend},
		{"of another cluster", placement.Replica{ID: "r1", Made: true}, other(replicaInfo{"c2", 3, "r1", 5}), "another cluster"},
		{"new in that of another cluster", placement.Replica{ID: "r1"}, other(replicaInfo{"c2", 3, "r1", 5}), "another cluster"},
		{"of another shard", placement.Replica{ID: "r1", Made: true}, other(replicaInfo{"c1", 4, "r1", 5}), "shard 4"},
		{"new among other files", placement.Replica{ID: "r1"}, file("notes.txt"), "something else"},
		{"unreadable", placement.Replica{ID: "r1"}, file(replicaFile), replicaFile},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "shard-0003")
			if test.before != nil {
				test.before(t, dir)
			}
			cfg := testConfig(t)
			cfg.Node = "a"
			cfg, err := cfg.withDefaults()
			if err != nil {
				t.Fatal(err)
			}
			cfg.Data = new(DataDir)
			err = prepareReplicaDir(dir, &placement.Map{Cluster: "c1", Version: 5}, 3, &test.replica, &cfg)
			if test.want != "" {
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("prepareReplicaDir = %v, want an error with %q", err, test.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if test.replica.ID != placement.SoloReplica {
				if err := replica.CheckFiles(replicaFiles(dir, &cfg)); err != nil {
					t.Error(err)
				}
			}
			have, err := readReplicaInfo(dir)
			if want := (replicaInfo{"c1", 3, test.replica.ID, 5}); err != nil || have != want {
				t.Errorf("replica.json = %+v, %v, want %+v", have, err, want)
			}
		})
	}
}

// TestLostNodeLog makes a replica in the log of its node, and loses that log.
func TestLostNodeLog(t *testing.T) {
	cfg := testConfig(t)
	cfg.Node, cfg.RaftLog = "a", RaftLogShared
	cfg, err := cfg.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(cfg.Dir, "shard-0003-r1")
	for _, test := range []struct {
		made bool
		lost string // before
		want string // of the error; "" for none
	}{
		{false, "", ""},
		{true, "", ""},
		{true, "shard-0003-r1/snapshots", "rebuild-replica 3 a"},
		{false, "", ""},
		{true, "log", "rebuild-replica 3 a"},
	} {
		if test.lost != "" {
			if err := os.RemoveAll(filepath.Join(cfg.Dir, test.lost)); err != nil {
				t.Fatal(err)
			}
		}
		if cfg.Data, err = openDataDir(&cfg, true); err != nil {
			t.Fatal(err)
		}
		err := prepareReplicaDir(dir, &placement.Map{Cluster: "c1", Version: 5}, 3, &placement.Replica{ID: "r1", Made: test.made}, &cfg)
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("made %t, without %q: prepareReplicaDir = %v, want an error with %q", test.made, test.lost, err, test.want)
		}
		if err := cfg.Data.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFilesAreMadeOnce has maps come in which a replica of this node is not noted as made:
// what is lost of its files meanwhile is not made anew, and so found out.
func TestFilesAreMadeOnce(t *testing.T) {
	const self = placement.NodeID("self")
	l, err := link.Open(link.Config{ID: link.NodeID(self), Name: "self", Cluster: testClusterID, Listen: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	mapOf := func(version uint64, made bool) *placement.Map {
		m := placement.Solo(placement.Node{ID: self, Name: "self"}, 1, placement.Config{Version: 1}, 1)
		m.Version, m.Cluster = version, testClusterID
		m.Shards[0].Founders = []string{"r1"}
		m.Shards[0].Replicas[0] = placement.Replica{ID: "r1", Node: self, Made: made}
		return m
	}
	cfg := testConfig(t)
	cfg.Shards = 0
	told := 0
	cfg.Cluster = &Cluster{Node: self, Map: mapOf(1, false), Link: OverLink(l), Made: func(uint32, string) { told++ }}
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.SetMap(mapOf(2, false)); err != nil {
		t.Fatal(err)
	}
	votes := filepath.Join(s.replicaDir(0, "r1"), "stable.db")
	if err := os.Remove(votes); err != nil {
		t.Fatal(err)
	}
	before := told
	if err := s.SetMap(mapOf(3, false)); err != nil || told != before+1 {
		t.Errorf("another map: %v, placement was told %d times", err, told-before)
	}
	if err := s.SetMap(mapOf(4, true)); err == nil || !strings.Contains(err.Error(), "rebuild-replica 0") {
		t.Errorf("the map that has the replica as made: %v, want what mends it", err)
	}
	if _, err := os.Stat(votes); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the votes are there again: %v", err)
	}
}
