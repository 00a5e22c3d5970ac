package raftstore

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/belfry-im/belfry/raftstore/placement"
	"github.com/belfry-im/belfry/raftstore/replica"
	"github.com/belfry-im/belfry/shard/command"
)

// dataFormat is the version of the layout of a data directory, and of the
// bytes of logs and snapshots in it. A binary refuses a version that it does not know.
//
//	belfry.json        settings that cannot change, see dataInfo
//	LOCK               held by the process that uses the directory
//	log/               Raft logs and votes of all replicas, with RaftLog shared
//	shard-NNNN/log/    Raft log (log.db with boltdb), with another one
//	shard-NNNN/stable.db  term and vote, with another one
//	shard-NNNN/snapshots/
//	shard-NNNN/STOPPED why the shard has stopped, if it has
//	shard-NNNN-ID/     in a cluster: that of replica ID, unless it is older than the cluster
//	shard-NNNN-ID/replica.json  whose directory it is, see replicaInfo
//	placement/, placement.voter  in a cluster: see placement.GroupConfig
const dataFormat = 9

// dataInfo is the content of belfry.json.
type dataInfo struct {
	Format int              `json:"format"`
	UUID   placement.NodeID `json:"uuid"` // of the node, made with the directory
	Node   string           `json:"node"` // its name, which may change in a cluster
	// Cluster is the UUID of the cluster that the node belongs to, "" if to none.
	Cluster string `json:"cluster,omitempty"`
	// Shards is the number of shards that the directory has of its own, 0 if it was made
	// for a cluster. In a cluster it says nothing.
	Shards  int    `json:"shards"`
	RaftLog string `json:"raftLog"`
	// Configuration is what the shards were last configured with. In a cluster it is that
	// of the time before.
	Configuration configuration `json:"configuration"`
}

// A configuration is that of all shards.
type configuration struct {
	Version uint64         `json:"version"` // rises whenever the store is opened with other values
	Limits  command.Limits `json:"limits"`
	// Epoch distinguishes this store from others whose cursors clients may still hold: an
	// earlier store that was lost, or this one before it was restored from a backup.
	Epoch     uint64 `json:"epoch"`
	HookBytes int    `json:"hookBytes"`
}

// A DataDir is a data directory that this process has locked.
type DataDir struct {
	path string
	lock *os.File
	log  *replica.NodeLog // nil unless RaftLog is RaftLogShared

	mu   sync.Mutex
	info dataInfo
}

// OpenDataDir creates cfg.Dir if it does not exist, locks it, takes other users'
// permissions away and checks that the directory fits the rest of cfg. In a cluster it is
// to be opened before the store, which is then given it as Config.Data. inCluster says
// that the node is one of several.
func OpenDataDir(cfg Config, inCluster bool) (*DataDir, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	return openDataDir(&cfg, inCluster)
}

// openDataDir is OpenDataDir for a cfg with defaults. If cfg.Shards is 0, it is set to the
// number that the directory has.
func openDataDir(cfg *Config, inCluster bool) (_ *DataDir, err error) {
	if err := os.MkdirAll(cfg.Dir, dirMode); err != nil {
		return nil, err
	}
	lock, err := lockFile(filepath.Join(cfg.Dir, "LOCK"))
	if err != nil {
		return nil, err
	}
	d := &DataDir{path: cfg.Dir, lock: lock}
	if cfg.RaftLog == RaftLogShared {
		d.log = replica.NewNodeLog(filepath.Join(cfg.Dir, "log"), cfg.SegmentBytes, cfg.walFS)
	}
	defer func() {
		if err != nil {
			lock.Close()
		}
	}()
	tighten(cfg.Dir, cfg.Log)
	data, err := os.ReadFile(infoPath(cfg.Dir))
	if errors.Is(err, fs.ErrNotExist) {
		if err := d.write(newDataInfo(cfg, inCluster)); err != nil {
			return nil, err
		}
		return d, replica.SyncDir(filepath.Dir(cfg.Dir))
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, &d.info); err != nil {
		return nil, fmt.Errorf("raftstore: %s: %w", infoPath(cfg.Dir), err)
	}
	next := d.info
	if err := next.fit(cfg, inCluster); err != nil {
		return nil, err
	}
	if next != d.info {
		return d, d.write(next)
	}
	return d, nil
}

// write replaces belfry.json.
func (d *DataDir) write(info dataInfo) error {
	if err := writeFile(infoPath(d.path), info); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.info = info
	return nil
}

func (d *DataDir) known() dataInfo {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.info
}

// Close closes the log that its replicas share, and unlocks the directory. A store that was
// given it does so itself.
func (d *DataDir) Close() error {
	var err error
	if d.log != nil {
		err = d.log.Close()
	}
	return errors.Join(err, d.lock.Close())
}

// removeReplica removes what a replica has on the disk, whose directory is dir.
func (d *DataDir) removeReplica(dir string) error {
	if d.log != nil {
		if err := d.log.Drop(filepath.Base(dir)); err != nil {
			return err
		}
	}
	return os.RemoveAll(dir)
}

// Node returns the UUID of the node.
func (d *DataDir) Node() placement.NodeID { return d.known().UUID }

// Cluster returns the UUID of the cluster that the node belongs to, "" if to none yet.
func (d *DataDir) Cluster() string { return d.known().Cluster }

// Join notes which cluster the node belongs to from now on.
func (d *DataDir) Join(cluster string) error {
	next := d.known()
	if next.Cluster == cluster {
		return nil
	}
	next.Cluster = cluster
	return d.write(next)
}

// Solo reports whether the directory has shards of a time before any cluster.
func (d *DataDir) Solo() bool {
	info := d.known()
	return info.Shards > 0 && info.Cluster == ""
}

// Seed returns what a cluster begins with that this node founds together with others, or
// alone if Solo: then its shards and their configuration go on.
func (d *DataDir) Seed(cfg Config, founders int) (placement.Seed, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return placement.Seed{}, err
	}
	if !d.Solo() {
		return placement.Seed{
			Shards: cmp.Or(cfg.Shards, max(newShards, founders)),
			Config: placement.Config{Limits: cfg.Limits, HookBytes: cfg.hookBytes()},
		}, nil
	}
	next := d.known()
	next.configure(&cfg)
	c := &next.Configuration
	return placement.Seed{
		Shards: next.Shards, Epoch: c.Epoch,
		Config: placement.Config{Version: c.Version, Limits: c.Limits, HookBytes: c.HookBytes},
	}, nil
}

func infoPath(dir string) string { return filepath.Join(dir, "belfry.json") }

// newDataInfo returns what a new directory for cfg begins with.
func newDataInfo(cfg *Config, inCluster bool) dataInfo {
	info := dataInfo{
		Format: dataFormat, UUID: placement.NodeID(placement.NewUUID()), Node: cfg.Node, RaftLog: cfg.RaftLog,
		Configuration: configuration{Version: 1, Limits: cfg.Limits, Epoch: uint64(time.Now().UnixMilli()), HookBytes: cfg.hookBytes()},
	}
	if !inCluster {
		cfg.Shards = cmp.Or(cfg.Shards, newShards)
		info.Shards = cfg.Shards
	}
	return info
}

// fit checks that the directory fits cfg, and takes over from cfg what may change. If
// cfg.Shards is 0, it is set.
func (have *dataInfo) fit(cfg *Config, inCluster bool) error {
	path := infoPath(cfg.Dir)
	switch {
	case have.Format > dataFormat:
		return fmt.Errorf("raftstore: %s has data format %d, this binary knows up to %d: use the newer binary", cfg.Dir, have.Format, dataFormat)
	case have.Format < dataFormat:
		return fmt.Errorf("raftstore: %s has data format %d, from before the first release, this binary knows %d: begin with a new folder", cfg.Dir, have.Format, dataFormat)
	case have.UUID == "":
		return fmt.Errorf("raftstore: %s: uuid: must be set", path)
	case have.RaftLog != cfg.RaftLog:
		return fmt.Errorf("raftstore: %s keeps its Raft log as %q, not %q: start with --raft-log %s", cfg.Dir, have.RaftLog, cfg.RaftLog, have.RaftLog)
	case have.Shards < 0 || have.Shards > maxShards:
		return fmt.Errorf("raftstore: %s: shards: %d is not within 0-%d", path, have.Shards, maxShards)
	}
	if inCluster {
		have.Node = cfg.Node
		return nil
	}
	switch {
	case have.Cluster != "":
		return fmt.Errorf("raftstore: %s belongs to cluster %s: start with --cluster-listen", cfg.Dir, have.Cluster)
	case have.Shards == 0:
		return fmt.Errorf("raftstore: %s was made for a cluster that it has not joined yet: start with --cluster-listen, or begin with a new folder", cfg.Dir)
	case cfg.Shards != 0 && have.Shards != cfg.Shards:
		return fmt.Errorf("raftstore: %s holds %d shards, not %d: start with --shards %d; slots are moved between shards by belfry cluster, not by this flag",
			cfg.Dir, have.Shards, cfg.Shards, have.Shards)
	case have.Node != cfg.Node:
		return fmt.Errorf("raftstore: %s belongs to node %q, not %q: start with --node %s", cfg.Dir, have.Node, cfg.Node, have.Node)
	}
	cfg.Shards = have.Shards
	have.configure(cfg)
	return nil
}

// configure takes over the configuration of cfg, as a new version if it is another one.
func (have *dataInfo) configure(cfg *Config) {
	if c := &have.Configuration; c.Limits != cfg.Limits || c.HookBytes != cfg.hookBytes() {
		c.Limits, c.HookBytes = cfg.Limits, cfg.hookBytes()
		c.Version++
	}
}

// writeFile replaces the file at path by v as JSON. A crash leaves either the old file or
// the new one, complete.
func writeFile(path string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, fileMode)
	if err != nil {
		return err
	}
	_, err = f.Write(append(data, '\n'))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return replica.SyncDir(filepath.Dir(path))
}
