package raftstore

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/belfry-im/belfry/raftstore/placement"
	"github.com/belfry-im/belfry/raftstore/replica"
)

// replicaInfo is the content of replica.json in the directory of a replica of a cluster:
// whose directory it is. A replica that has voted and lost its directory must not vote
// again under the same ID, so one without this file, or with another, is not opened.
type replicaInfo struct {
	Cluster string `json:"cluster"`
	Shard   uint32 `json:"shard"`
	ID      string `json:"id"`
	// Since is the version of a map that had the replica: one of that version or a later
	// one without it means that the replica has left.
	Since uint64 `json:"since"`
}

const replicaFile = "replica.json"

// prepareReplicaDir makes the directory of a replica that is new, with the files in which
// it will vote, and checks that an existing one is that of the replica, and has them. An
// error names the command that mends it.
func prepareReplicaDir(dir string, m *placement.Map, shard uint32, r *placement.Replica, cfg *Config) error {
	want := replicaInfo{Cluster: m.Cluster, Shard: shard, ID: r.ID, Since: m.Version}
	have, err := readReplicaInfo(dir)
	if err != nil {
		return err
	}
	if have.ID == r.ID {
		want.Since = have.Since
	}
	rebuild := fmt.Sprintf("make it anew from the others with: belfry cluster rebuild-replica %d %s", shard, cfg.Node)
	switch {
	case have == want && !r.Made:
		return replica.MakeFiles(replicaFiles(dir, cfg))
	case have == want:
		err := replica.CheckFiles(replicaFiles(dir, cfg))
		if errors.Is(err, replica.ErrFilesLost) {
			err = fmt.Errorf("%w: its replica may have voted, and must not do so again: %s", err, rebuild)
		}
		return err
	case have != replicaInfo{} && have.Cluster != m.Cluster:
		return fmt.Errorf("raftstore: %s holds a replica of another cluster, %s: move it away; if the one that was here is lost, %s", dir, have.Cluster, rebuild)
	case have != replicaInfo{} && have.Shard != shard:
		return fmt.Errorf("raftstore: %s holds a replica of shard %d: put the folders back where they were, or %s", dir, have.Shard, rebuild)
	case have != replicaInfo{} && r.Made:
		return fmt.Errorf("raftstore: %s holds replica %s, not %s, which may have voted: %s", dir, have.ID, r.ID, rebuild)
	}
	empty, err := isEmptyDir(dir)
	switch {
	case err != nil:
		return err
	case have == replicaInfo{} && r.ID == placement.SoloReplica && r.Made && !empty:
		// It is from the time before the cluster.
		return writeFile(filepath.Join(dir, replicaFile), want)
	case r.Made:
		return fmt.Errorf("raftstore: %s was emptied: its replica may have voted, and must not do so again: %s", dir, rebuild)
	case have != replicaInfo{}:
		// A replica that has left the shard, and was to be removed.
		if err := cfg.Data.removeReplica(dir); err != nil {
			return err
		}
	case !empty:
		return fmt.Errorf("raftstore: %s has files of something else in it: move them away", dir)
	}
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return err
	}
	// First whose it is: were it the other way round, a crash in between would leave files
	// of nobody.
	if err := errors.Join(writeFile(filepath.Join(dir, replicaFile), want), replica.SyncDir(filepath.Dir(dir))); err != nil {
		return err
	}
	return replica.MakeFiles(replicaFiles(dir, cfg))
}

// MakeShards makes the files of shards that a node alone has never opened, or that it would
// begin anew, if Solo: once it is in a cluster, shards without files have lost them.
func (d *DataDir) MakeShards(cfg Config) error {
	if !d.Solo() {
		return nil
	}
	cfg, err := cfg.withDefaults()
	if err != nil {
		return err
	}
	cfg.Data = d
	for id := range d.known().Shards {
		dir := filepath.Join(d.path, fmt.Sprintf("shard-%04d", id))
		err := replica.CheckFiles(replicaFiles(dir, &cfg))
		if err == nil {
			continue
		}
		if !errors.Is(err, replica.ErrFilesLost) {
			return err
		}
		if err := errors.Join(os.MkdirAll(dir, dirMode), replica.SyncDir(d.path)); err != nil {
			return err
		}
		if err := replica.MakeFiles(replicaFiles(dir, &cfg)); err != nil {
			return err
		}
	}
	return nil
}

// replicaFiles returns what replica.MakeFiles needs. cfg.Data is set.
func replicaFiles(dir string, cfg *Config) *replica.Config {
	return &replica.Config{Dir: dir, RaftLog: cfg.RaftLog, NodeLog: cfg.Data.log, SegmentBytes: cfg.SegmentBytes, WALFS: cfg.walFS, Log: cfg.Log}
}

// readReplicaInfo returns the zero value if there is no such file.
func readReplicaInfo(dir string) (replicaInfo, error) {
	path := filepath.Join(dir, replicaFile)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return replicaInfo{}, nil
	}
	var have replicaInfo
	if err == nil {
		err = json.Unmarshal(data, &have)
	}
	if err == nil && have.ID == "" {
		err = errors.New("id: must be set")
	}
	if err != nil {
		return replicaInfo{}, fmt.Errorf("raftstore: %s: %w", path, err)
	}
	return have, nil
}

// isEmptyDir reports whether nothing is in dir, or there is no dir.
func isEmptyDir(dir string) (bool, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	return len(entries) == 0, err
}
