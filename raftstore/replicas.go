package raftstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/belfry-im/belfry/raftstore/placement"
	"github.com/belfry-im/belfry/raftstore/replica"
)

// SetMap takes over a newer map: it opens the replicas that this node is to have, and
// closes those that it is not to have any more. An older map is ignored.
func (s *Store) SetMap(m *placement.Map) error {
	c := s.cluster
	if c == nil {
		return errNoCluster
	}
	s.mapping.Lock()
	defer s.mapping.Unlock()
	c.mu.Lock()
	if c.closed || m.Version < c.m.Version {
		c.mu.Unlock()
		return nil
	}
	c.m = m
	c.mu.Unlock()
	s.setMap(m)
	return s.reconcile(m)
}

// reconcile opens and closes replicas so that this node has those that m names. The
// caller holds mapping.
func (s *Store) reconcile(m *placement.Map) error {
	var errs []error
	kept := s.replicas[:0:0]
	for _, here := range s.replicas {
		if of := m.Shard(here.id); of != nil && of.Replica(here.replicaID) != nil && of.Replica(here.replicaID).Node == s.cluster.Node {
			kept = append(kept, here)
			continue
		}
		here.stop()
		here.shardRef.replicated.CompareAndSwap(here, nil)
	}
	for i := range m.Shards {
		of := &m.Shards[i]
		r := of.On(s.cluster.Node)
		if r == nil {
			continue
		}
		sh := s.owners.Load().shard(of.ID)
		if sh.here() == nil {
			here, err := s.openReplica(sh, of, r)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			kept = append(kept, here)
		}
		if !r.Made {
			s.cluster.Made(of.ID, r.ID)
		}
	}
	s.replicas = kept
	s.budget.setReplicas(kept)
	return errors.Join(errs...)
}

// openReplica opens the replica r of a shard. Placement has made it: its directory is
// named by its id, and once it was there it must not be missing, because the vote is in
// it.
func (s *Store) openReplica(sh *shardRef, of *placement.Shard, r *placement.Replica) (*localShard, error) {
	dir := s.replicaDir(of.ID, r.ID)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) && r.Made {
		return nil, fmt.Errorf("raftstore: shard %d: %s is not there, and with it the vote of replica %s: make the replica anew with belfry cluster rebuild-replica, or start with the directory that holds it",
			of.ID, dir, r.ID)
	} else if errors.Is(err, fs.ErrNotExist) {
		if err := os.Mkdir(dir, dirMode); err != nil {
			return nil, err
		}
		if err := replica.SyncDir(filepath.Dir(dir)); err != nil {
			return nil, err
		}
	} else if err != nil {
		return nil, err
	}
	here := newLocalShard(sh, of, r)
	ctx, stop := context.WithCancel(s.shardsCtx)
	here.stop = stop
	sh.replicated.Store(here)
	s.shardRuns.Go(func() { here.local.Run(ctx) })
	return here, nil
}

// replicaDir returns the directory of a replica.
func (s *Store) replicaDir(shard uint32, id string) string {
	name := fmt.Sprintf("shard-%04d", shard)
	if s.cluster != nil && id != placement.SoloReplica {
		name += "-" + id
	}
	return filepath.Join(s.cfg.Dir, name)
}
