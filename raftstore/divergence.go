package raftstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/belfry-im/belfry/raftstore/replica"
	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/codec"
	"github.com/belfry-im/belfry/shard/command"
)

const (
	// compareEvery is how often a node tells the others of new checksums of its replicas,
	// and compares theirs with its own.
	compareEvery = 5 * time.Second
	// toldChecksums bounds how many checksums of a replica the others are told, the newest
	// ones: a round has no more than 16.
	toldChecksums = 17
)

// shardChecksums are the newest checksums of a node's replicas, by shard.
type shardChecksums map[uint32][]replica.Checksum

// fields writes or reads them:
//
//	number of shards (uvarint); unless that is 0: shard.StateVersion (uvarint), and of
//	each: id, number of checksums (uvarints), and of each: index, slot (uvarints), sum
//	(8 bytes)
//
// It reads none if they are of another version of the state: they differ from this node's
// although the states do not.
func (c *shardChecksums) fields(x *codec.Coder) {
	n := codec.Len(x, len(*c), 2, 1<<16)
	version := uint64(shard.StateVersion)
	if n > 0 {
		codec.Uint(x, &version)
	}
	if x.Writing() {
		for _, id := range slices.Sorted(maps.Keys(*c)) {
			sums := (*c)[id]
			codec.Uint(x, &id)
			codec.List(x, &sums, 10, toldChecksums, checksumFields)
		}
		return
	}
	*c = make(shardChecksums)
	if version != shard.StateVersion {
		return
	}
	for range n {
		var id uint32
		var sums []replica.Checksum
		codec.Uint(x, &id)
		codec.List(x, &sums, 10, toldChecksums, checksumFields)
		(*c)[id] = sums
	}
}

func checksumFields(sum *replica.Checksum, x *codec.Coder) {
	codec.Uint(x, &sum.Index)
	codec.UintMax(x, &sum.Slot, command.Slots-1)
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], sum.Sum)
	if codec.Fixed(x, b[:]); !x.Writing() { // others may read what is written
		sum.Sum = binary.LittleEndian.Uint64(b[:])
	}
}

// watchChecksums tells the other nodes of this one's checksums, and compares, until the
// store is closed.
func (s *Store) watchChecksums() {
	tick := time.NewTicker(compareEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.cluster.ctx.Done():
			return
		case <-tick.C:
		}
		s.tellChecksums()
		s.compareChecksums()
	}
}

// tellChecksums publishes the checksums of this node's replicas if there are new ones.
func (s *Store) tellChecksums() {
	own := make(shardChecksums)
	for _, sh := range s.shards() {
		if here := sh.here(); here != nil {
			if sums := here.local.Checksums(); len(sums) > 0 {
				own[sh.id] = sums[max(0, len(sums)-toldChecksums):]
			}
		}
	}
	s.cluster.mu.Lock()
	news := !reflect.DeepEqual(own, s.cluster.ownChecksums)
	s.cluster.ownChecksums = own
	s.cluster.mu.Unlock()
	if news {
		s.publish()
	}
}

// compareChecksums stops replicas of this node that have diverged from the others of
// their shard. Replicas that differ while none of them is known to be right go on: that
// is for an operator to decide.
func (s *Store) compareChecksums() {
	m := s.clusterMap()
	for _, sh := range s.shards() {
		here, of := sh.here(), m.Shard(sh.id)
		if here == nil || of == nil {
			continue
		}
		sums := map[string][]replica.Checksum{here.replicaID: here.local.Checksums()}
		s.cluster.mu.Lock()
		for _, r := range of.Replicas {
			if theirs := s.cluster.statuses[r.Node].checksums[sh.id]; r.ID != here.replicaID && len(theirs) > 0 {
				sums[r.ID] = theirs
			}
		}
		s.cluster.mu.Unlock()
		odd, err := replica.Diverged(sums)
		slices.Sort(odd)
		here.undecided.Store(err != nil)
		if slices.Contains(odd, here.replicaID) {
			here.local.Stop("its checksums", errors.New("the state differs from that of the other replicas"))
		}
		if found := fmt.Sprint(odd, err); found != here.diverged {
			here.diverged = found
			if len(odd) > 0 || err != nil {
				here.log.Error("replicas of a shard have diverged", "odd", odd, "err", err)
			}
		}
	}
}
