package raftstore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/belfry-im/belfry/raftstore/placement"
	"github.com/belfry-im/belfry/raftstore/store"
)

const (
	// spreadEvery is how often a node looks whether leaderships belong elsewhere.
	spreadEvery = time.Second
	// spreadAfter is how long the replica where a leadership belongs must have been fit to
	// take it over, and spreadRetry the pause after a transfer that failed.
	spreadAfter = 10 * time.Second
	spreadRetry = 30 * time.Second
	// transferTimeout bounds one transfer, and drainMost how many a draining node makes at
	// a time.
	transferTimeout = 5 * time.Second
	drainMost       = 4
	// maxOffset is how far the clock of a node that leads may be from the median of the
	// others. A wrong clock raises the time of a shard for good.
	maxOffset = 5 * time.Second
	// slowDiskFor is how long a node leads nothing after its disk has hung.
	slowDiskFor = 10 * time.Minute
)

// Transfer hands the leadership of a shard over to the replica on another node, or to
// the one that is best suited if to is "". It returns nil once that one leads. It fails
// with store.ErrNotLeader if this node does not lead the shard.
func (s *Store) Transfer(ctx context.Context, shard uint32, to placement.NodeID) error {
	if s.cluster == nil {
		return errNoCluster
	}
	sh := s.owners.Load().shard(shard)
	if sh == nil || sh.leading() == nil {
		return store.NotLeader(fmt.Sprintf("shard %d is not led here", shard))
	}
	id := ""
	if to != "" {
		r := s.clusterMap().Shard(shard).On(to)
		if r == nil {
			return fmt.Errorf("raftstore: node %s has no replica of shard %d", to, shard)
		}
		id = r.ID
	}
	return sh.here().local.Transfer(ctx, id)
}

// Drain hands all leaderships of this node over, a few at a time, and takes none back. It
// returns nil once this node leads nothing, or an error when ctx ends or no other node
// could lead what is left. From then on Ready fails, and what an election brings back is
// handed over again.
func (s *Store) Drain(ctx context.Context) error {
	if s.cluster == nil {
		return nil
	}
	s.cluster.mu.Lock()
	s.cluster.draining = true
	s.cluster.mu.Unlock()
	s.publish()
	for {
		err := s.handOver(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil || s.lacksHeirs() {
			return errors.Join(ctx.Err(), err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// handOver tries once to hand all leaderships over. It returns nil if none is left.
func (s *Store) handOver(ctx context.Context) error {
	turns := make(chan struct{}, drainMost)
	var mu sync.Mutex
	var errs []error
	var all sync.WaitGroup
	for _, sh := range s.shards() {
		if sh.leading() == nil {
			continue
		}
		heir := s.heir(sh)
		if heir == "" { // whoever got it would hand it back
			mu.Lock()
			errs = append(errs, store.Unavailable(store.DefaultRetryAfter, fmt.Sprintf("no other node may lead shard %d", sh.id)))
			mu.Unlock()
			continue
		}
		turns <- struct{}{}
		all.Go(func() {
			defer func() { <-turns }()
			ctx, cancel := context.WithTimeout(ctx, transferTimeout)
			defer cancel()
			if err := s.Transfer(ctx, sh.id, heir); err != nil && sh.leading() != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// lacksHeirs reports whether this node leads shards of which no other one could lead any.
func (s *Store) lacksHeirs() (lacks bool) {
	for _, sh := range s.shards() {
		if sh.leading() == nil {
			continue // it may have ended while it was handed over
		}
		if s.heir(sh) != "" {
			return false
		}
		lacks = true
	}
	return lacks
}

// heir returns the node that is to lead a shard when this one does not, "" if no other one
// may.
func (s *Store) heir(sh *shardRef) placement.NodeID {
	m := s.clusterMap()
	of := m.Shard(sh.id)
	if of == nil {
		return ""
	}
	for _, r := range of.Replicas {
		if r.Node != s.cluster.Node && !r.Leaving && s.mayLead(m, r.Node) {
			return r.Node
		}
	}
	return ""
}

// mayLead reports whether leaderships may go to another node.
func (s *Store) mayLead(m *placement.Map, node placement.NodeID) bool {
	n := m.Node(node)
	if n == nil || n.Maintenance || !s.cluster.Link.Connected(node) {
		return false
	}
	s.cluster.mu.Lock()
	defer s.cluster.mu.Unlock()
	return !s.cluster.statuses[node].declines
}

// declines returns why this node is to lead nothing, "" if it may.
func (s *Store) declines() string {
	c := s.cluster
	c.mu.Lock()
	draining, slow, m := c.draining, time.Now().Before(c.slowUntil), c.m
	c.mu.Unlock()
	offset, peers := c.Link.Offset()
	n := m.Node(c.Node)
	switch {
	case draining:
		return "it is being drained"
	case n != nil && n.Maintenance:
		return "it is under maintenance"
	case slow:
		return "its disk has hung"
	case peers >= 2 && offset.Abs() > maxOffset:
		return fmt.Sprintf("its clock is %v from the others'", offset.Round(time.Second))
	}
	return ""
}

// slowDisk is replica.Config.OnSlowDisk.
func (s *Store) slowDisk() {
	s.cluster.mu.Lock()
	defer s.cluster.mu.Unlock()
	s.cluster.slowUntil = time.Now().Add(slowDiskFor)
}

// A candidate is another node's replica of a shard that this node leads, in one
// leadership.
type candidate struct {
	of   *leader
	node placement.NodeID
}

// fit returns the candidates that could take over now. A node that is connected may have a
// replica that could not: its disk may be full.
func (s *Store) fit(m *placement.Map) (fit []candidate) {
	for _, sh := range s.shards() {
		l, of := sh.leading(), m.Shard(sh.id)
		if l == nil || of == nil {
			continue
		}
		for _, r := range of.Replicas {
			if r.Node != s.cluster.Node && !r.Leaving && s.mayLead(m, r.Node) && l.shard.local.Fit(r.ID) == nil {
				fit = append(fit, candidate{l, r.Node})
			}
		}
	}
	return fit
}

// since returns since when the candidates that are fit now have been so without a break;
// before is what it returned last. It begins anew with each leadership: one that an
// election has just moved does not go back at once to where something may be wrong.
func since(before map[candidate]time.Time, fit []candidate, now time.Time) map[candidate]time.Time {
	at := make(map[candidate]time.Time, len(fit))
	for _, c := range fit {
		at[c] = now
		if began, ok := before[c]; ok {
			at[c] = began
		}
	}
	return at
}

// spread hands leaderships over that belong elsewhere, until ctx ends: to the first node
// of the shard's replicas that is well, or to any that may lead if this one is to lead
// nothing.
func (s *Store) spread(ctx context.Context) {
	tick := time.NewTicker(spreadEvery)
	defer tick.Stop()
	said := ""
	var fitSince map[candidate]time.Time
	retry := make(map[*shardRef]time.Time)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := time.Now()
		why := s.declines()
		if why != said {
			said = why
			if why != "" {
				s.cfg.Log.Warn("this node is to lead nothing", "because", why)
			} else {
				s.cfg.Log.Info("this node may lead again")
			}
			s.publish()
		}
		if why != "" {
			if err := s.handOver(ctx); err != nil {
				s.cfg.Log.Info("leaderships not handed over yet", "err", err)
			}
			fitSince = nil // nobody has looked meanwhile
			continue
		}
		m := s.clusterMap()
		fitSince = since(fitSince, s.fit(m), now)
		for _, sh := range s.shards() {
			l := sh.leading()
			to := s.belongs(m, sh, func(node placement.NodeID) bool {
				at, ok := fitSince[candidate{l, node}]
				return ok && now.Sub(at) >= spreadAfter
			})
			if to == "" || now.Before(retry[sh]) {
				continue
			}
			ctx, cancel := context.WithTimeout(ctx, transferTimeout)
			if err := s.Transfer(ctx, sh.id, to); err != nil {
				retry[sh] = now.Add(spreadRetry)
				sh.log.Info("leadership not handed over", "to", to, "err", err)
			} else {
				sh.log.Info("leadership handed over to where it belongs", "to", to)
			}
			cancel()
			break // one in each round
		}
	}
}

// belongs returns the node, other than this one, that comes before it among the replicas
// of a shard and is well; "" if there is none.
func (s *Store) belongs(m *placement.Map, sh *shardRef, well func(placement.NodeID) bool) placement.NodeID {
	of := m.Shard(sh.id)
	if of == nil {
		return ""
	}
	for _, r := range of.Replicas {
		switch {
		case r.Leaving:
		case r.Node == s.cluster.Node:
			return ""
		case well(r.Node):
			return r.Node
		}
	}
	return ""
}
