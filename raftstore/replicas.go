package raftstore

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/belfry-im/belfry/raftstore/placement"
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
	s.forgetNodes(m)
	for i := range m.Nodes { // they may lead shards that the last map did not have
		s.learnLeads(m.Nodes[i].ID)
	}
	return s.reconcile(m)
}

// reconcile opens and closes replicas so that this node has those that m names. The
// caller holds mapping.
func (s *Store) reconcile(m *placement.Map) error {
	if m.Cluster != "" && !s.cleaned {
		s.removeLeftovers(m)
		s.cleaned = true
	}
	var errs []error
	kept := s.replicas[:0:0]
	for _, here := range s.replicas {
		if of := m.Shard(here.id); of != nil && of.Replica(here.replicaID) != nil && of.Replica(here.replicaID).Node == s.cluster.Node {
			kept = append(kept, here)
			continue
		}
		here.stop()
		here.shardRef.replicated.CompareAndSwap(here, nil)
		s.cluster.background.Go(func() {
			<-here.ended
			s.removeReplica(s.replicaDir(here.id, here.replicaID))
		})
	}
	made := map[string]bool{}
	for i := range m.Shards {
		of := &m.Shards[i]
		r := of.On(s.cluster.Node)
		if r == nil {
			continue
		}
		sh := s.owners.Load().shard(of.ID)
		if sh.here() != nil {
			continue
		}
		if r.Made || !s.filesMade[r.ID] {
			err := s.cluster.refuse(of.ID, prepareReplicaDir(s.replicaDir(of.ID, r.ID), m, of.ID, r, &s.cfg))
			if err != nil {
				errs = append(errs, err)
				continue
			}
		}
		if !r.Made {
			// It is opened once the map says so: from then on its vote cannot get lost
			// unnoticed.
			made[r.ID] = true
			s.cluster.Made(of.ID, r.ID)
			continue
		}
		kept = append(kept, s.openReplica(sh, of, r))
	}
	s.replicas, s.filesMade = kept, made
	s.budget.setReplicas(kept)
	return errors.Join(errs...)
}

// openReplica runs the replica r of a shard, whose directory is prepared.
func (s *Store) openReplica(sh *shardRef, of *placement.Shard, r *placement.Replica) *localShard {
	here := newLocalShard(sh, of, r)
	ctx, stop := context.WithCancel(s.shardsCtx)
	here.stop, here.ended = stop, make(chan struct{})
	sh.replicated.Store(here)
	s.shardRuns.Go(func() {
		defer close(here.ended)
		here.local.Run(ctx)
	})
	return here
}

// removeReplica removes the directory of a replica that has left its shard.
func (s *Store) removeReplica(dir string) {
	if err := s.data.removeReplica(dir); err != nil {
		s.cfg.Log.Error("a replica that has left its shard is still on the disk", "dir", dir, "err", err)
		return
	}
	s.cfg.Log.Info("removed a replica that has left its shard", "dir", dir)
}

// removeLeftovers removes the directories of replicas that have left their shards while
// this node was not there. It is called before any replica is opened.
func (s *Store) removeLeftovers(m *placement.Map) {
	dirs, err := filepath.Glob(filepath.Join(s.cfg.Dir, "shard-*"))
	if err != nil {
		panic(err) // the pattern is a constant but for the directory
	}
	for _, dir := range dirs {
		info, err := readReplicaInfo(dir)
		if err != nil || info.ID == "" || info.Cluster != m.Cluster || info.Since > m.Version {
			continue
		}
		of := m.Shard(info.Shard)
		if of == nil || of.Replica(info.ID) == nil || of.Replica(info.ID).Node != s.cluster.Node {
			s.removeReplica(dir)
		}
	}
}

// replicaDir returns the directory of a replica.
func (s *Store) replicaDir(shard uint32, id string) string {
	name := fmt.Sprintf("shard-%04d", shard)
	if s.cluster != nil && id != placement.SoloReplica {
		name += "-" + id
	}
	return filepath.Join(s.cfg.Dir, name)
}

// CatchingUp reports whether a replica on this node gets its state from a snapshot, or
// makes up for what came after that: so does for a minute.
func (s *Store) CatchingUp() bool {
	return slices.ContainsFunc(s.shards(), func(sh *shardRef) bool {
		here := sh.here()
		return here != nil && here.local.CatchingUp()
	})
}
