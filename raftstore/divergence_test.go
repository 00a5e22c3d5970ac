package raftstore

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/belfry-im/belfry/raftstore/replica"
)

// Nodes hear of each other's checksums, which are the same at the same entries of the log.
// A replica that differs from the two others stops.
func TestDivergedReplicaStops(t *testing.T) {
	c := newTestCluster(t, 3, 1, func(_ int, cfg *Config) { cfg.ChecksumEvery = 100 * time.Millisecond })
	alice, bob := userIn(c.store(0), 0, 0), userIn(c.store(0), 0, 1)
	for i := range 10 {
		send(t, c.store(0), message(alice, bob, i))
	}
	s := c.store(0)
	// told returns the checksums of the other nodes' replicas that s knows, and how many of
	// these are at entries where its own replica has one.
	told := func() (sums map[string][]replica.Checksum, same int) {
		own := s.shards()[0].here().local.Checksums()
		sums = map[string][]replica.Checksum{"own": own}
		s.cluster.mu.Lock()
		defer s.cluster.mu.Unlock()
		for node, told := range s.cluster.statuses {
			if len(told.checksums[0]) == 0 {
				continue
			}
			sums[string(node)] = told.checksums[0]
			for _, sum := range told.checksums[0] {
				if slices.ContainsFunc(own, func(o replica.Checksum) bool { return o.Index == sum.Index }) {
					same++
				}
			}
		}
		return sums, same
	}
	eventually(t, "the checksums of two other replicas are known", func() bool {
		sums, same := told()
		odd, err := replica.Diverged(sums)
		if len(odd) > 0 || err != nil {
			t.Fatalf("replicas %v have diverged, %v: %v", odd, err, sums)
		}
		return len(sums) == 3 && same >= 2
	})

	c.kill(1)
	c.kill(2)
	eventually(t, "what the others told is forgotten", func() bool {
		s.cluster.mu.Lock()
		defer s.cluster.mu.Unlock()
		return len(s.cluster.statuses) == 0
	})
	local := s.shards()[0].here().local
	own := local.Checksums()
	forged := []replica.Checksum{own[len(own)-1]}
	forged[0].Sum ^= 1
	tell := func(node int) {
		status := nodeStatus{checksums: shardChecksums{0: forged}}
		s.PeerStatus(c.nodes[node].id, status.append(nil))
	}
	tell(1)
	s.tellChecksums()
	if err := local.Ready(); err != nil && strings.Contains(err.Error(), "stopped") {
		t.Fatalf("one node alone says something else: %v", err)
	}
	tell(2)
	eventually(t, "the replica stops", func() bool {
		err := local.Ready()
		return err != nil && strings.Contains(err.Error(), "has stopped at its checksums")
	})
}
