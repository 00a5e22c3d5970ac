package raftstore

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/belfry-im/belfry/raftstore/replica"
	"github.com/belfry-im/belfry/shard/command"
)

// dataFormat is the version of the layout of a data directory, and of the
// bytes of logs and snapshots in it. A binary refuses a version that it does not know.
//
//	belfry.json        settings that cannot change, see dataInfo
//	LOCK               held by the process that uses the directory
//	shard-NNNN/log/    Raft log (log.db with boltdb)
//	shard-NNNN/stable.db
//	shard-NNNN/snapshots/
//	shard-NNNN/STOPPED why the shard has stopped, if it has
const dataFormat = 6

// dataInfo is the content of belfry.json.
type dataInfo struct {
	Format  int    `json:"format"`
	Node    string `json:"node"`
	Shards  int    `json:"shards"`
	RaftLog string `json:"raftLog"`
	// Configuration is what the shards were last configured with.
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

// openDataDir creates cfg.Dir if it does not exist, locks it, takes other users'
// permissions away and checks that the directory fits the rest of cfg. If cfg.Shards is
// 0, openDataDir sets it. It returns the lock, which the caller closes to unlock the
// directory, and the configuration of the shards.
func openDataDir(cfg *Config) (lock *os.File, conf configuration, err error) {
	if err := os.MkdirAll(cfg.Dir, dirMode); err != nil {
		return nil, conf, err
	}
	held, err := lockFile(filepath.Join(cfg.Dir, "LOCK"))
	if err != nil {
		return nil, conf, err
	}
	defer func() {
		if err != nil {
			held.Close()
		}
	}()
	tighten(cfg.Dir, cfg.Log)
	path := filepath.Join(cfg.Dir, "belfry.json")
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if cfg.Shards == 0 {
			cfg.Shards = newShards
		}
		info := dataInfo{
			Format: dataFormat, Node: cfg.Node, Shards: cfg.Shards, RaftLog: cfg.RaftLog,
			Configuration: configuration{Version: 1, Limits: cfg.Limits, Epoch: uint64(time.Now().UnixMilli()), HookBytes: cfg.hookBytes()},
		}
		return held, info.Configuration, errors.Join(writeFile(path, info), replica.SyncDir(filepath.Dir(cfg.Dir)))
	}
	if err != nil {
		return nil, conf, err
	}
	var have dataInfo
	if err := json.Unmarshal(data, &have); err != nil {
		return nil, conf, fmt.Errorf("raftstore: %s: %w", path, err)
	}
	switch {
	case have.Format > dataFormat:
		err = fmt.Errorf("raftstore: %s has data format %d, this binary knows up to %d: use the newer binary", cfg.Dir, have.Format, dataFormat)
	case have.Format < dataFormat:
		err = fmt.Errorf("raftstore: %s has data format %d, from before the first release, this binary knows %d: begin with a new folder", cfg.Dir, have.Format, dataFormat)
	case have.Shards < 1 || have.Shards > maxShards:
		err = fmt.Errorf("raftstore: %s: shards: %d is not within 1-%d", path, have.Shards, maxShards)
	case cfg.Shards != 0 && have.Shards != cfg.Shards:
		err = fmt.Errorf("raftstore: %s holds %d shards, not %d: start with --shards %d; slots are moved between shards by belfry cluster, not by this flag",
			cfg.Dir, have.Shards, cfg.Shards, have.Shards)
	case have.Node != cfg.Node:
		err = fmt.Errorf("raftstore: %s belongs to node %q, not %q: start with --node %s", cfg.Dir, have.Node, cfg.Node, have.Node)
	case have.RaftLog != cfg.RaftLog:
		err = fmt.Errorf("raftstore: %s keeps its Raft log as %q, not %q: start with --raft-log %s", cfg.Dir, have.RaftLog, cfg.RaftLog, have.RaftLog)
	}
	cfg.Shards = have.Shards
	if c := &have.Configuration; err == nil && (c.Limits != cfg.Limits || c.HookBytes != cfg.hookBytes()) {
		c.Limits, c.HookBytes = cfg.Limits, cfg.hookBytes()
		c.Version++
		err = writeFile(path, have)
	}
	return held, have.Configuration, err
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
