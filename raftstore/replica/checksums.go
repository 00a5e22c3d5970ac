package replica

import (
	"context"
	"errors"
	"math/bits"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
)

const (
	// DefaultChecksumEvery is the default of Config.ChecksumEvery.
	DefaultChecksumEvery = 5 * time.Minute
	// checksumBytes is how much of the state one command reads, which holds the shard
	// for less than a millisecond. checksumPause is the least time between two, so that
	// the checksums of a shard take no more than some percent of one core: a round over
	// more than about 1 GiB takes longer than Config.ChecksumEvery.
	checksumBytes = 64 << 10
	checksumPause = time.Second / 64
	// checksumSlots is the number of slots that share a Checksum.
	checksumSlots = command.Slots / 16
	// keptChecksums bounds what Checksums returns: two rounds and a bit.
	keptChecksums = 40
)

// A Checksum is computed by each replica of a shard from the state as of the same entries
// of the log. Replicas that have one with the same Index have the same Sum, or have
// diverged.
type Checksum struct {
	Index uint64 // of the last entry that it was computed at
	Slot  uint16 // the first slot that it may cover; it covers up to 1,024
	Sum   uint64
}

// Diverged compares what Checksums returned at the replicas of a shard, by replica. It
// returns those which differ from more than half of the replicas that have a checksum at
// the same entry. If at some entry there is no such majority, the error is that nobody can
// tell which is right; odd holds what was found out at other entries.
func Diverged(of map[string][]Checksum) (odd []string, err error) {
	type entry struct {
		replicas int
		with     map[uint64]int // replicas by sum
	}
	entries := make(map[uint64]*entry)
	for _, sums := range of {
		for _, c := range sums {
			e := entries[c.Index]
			if e == nil {
				e = &entry{with: make(map[uint64]int)}
				entries[c.Index] = e
			}
			e.replicas++
			e.with[c.Sum]++
		}
	}
	for id, sums := range of {
		for _, c := range sums {
			e := entries[c.Index]
			most := 0
			for _, n := range e.with {
				most = max(most, n)
			}
			if 2*most <= e.replicas {
				err = errors.New("raftstore: replicas have diverged, and none of their checksums is that of a majority")
			} else if e.with[c.Sum] != most {
				odd = append(odd, id)
				break
			}
		}
	}
	return odd, err
}

// checksums gathers those of Checksum commands into one for each checksumSlots slots.
// The commands tell where one ends, so that all replicas cut them alike, but for the end
// of a round: there a replica that has diverged may go by itself, and has other sums from
// then on.
type checksums struct {
	mu   sync.Mutex
	kept []Checksum // oldest first

	last  shard.Checksum // of the newest command
	index uint64         // of its entry; 0: there was none since the state was replaced

	gathered int    // commands since the last cut
	whole    bool   // these are all since then
	slot     uint16 // from which on they read
	sum      uint64 // of their sums
}

// add takes the result of a command at index.
func (s *checksums) add(index uint64, c shard.Checksum) {
	s.mu.Lock()
	defer s.mu.Unlock()
	begins := c.From == command.Place{}
	if begins || s.index > 0 && c.From.Slot/checksumSlots != s.last.From.Slot/checksumSlots {
		s.cut()
		s.whole = true
	}
	if s.gathered++; s.gathered == 1 {
		s.slot = c.From.Slot
	}
	// Sums are hashes already: mixing them needs to tell their order, no more.
	s.sum = bits.RotateLeft64(s.sum, 5)*0x9e3779b97f4a7c15 ^ c.Sum
	if s.last, s.index = c, index; c.Done {
		s.cut()
	}
}

// cut keeps what was gathered, if it is whole.
func (s *checksums) cut() {
	if s.whole && s.gathered > 0 {
		if len(s.kept) == keptChecksums {
			s.kept = slices.Delete(s.kept, 0, 1)
		}
		s.kept = append(s.kept, Checksum{Index: s.index, Slot: s.slot, Sum: s.sum})
	}
	s.gathered, s.sum = 0, 0
}

// reset forgets all, since the state was replaced by another.
func (s *checksums) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept, s.index, s.gathered, s.sum, s.whole = nil, 0, 0, 0, false
}

// next returns the place from which the next command is to go on, and whether the last
// one has ended a round.
func (s *checksums) next() (from command.Place, done bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last.To, s.last.Done
}

// Checksums returns the last checksums of this replica, oldest first. The leader has all
// of the state summed up every Config.ChecksumEvery. After a restart they are those that
// the log gives; a replica that has just got its state from another one has none.
func (r *Replica) Checksums() []Checksum {
	r.sums.mu.Lock()
	defer r.sums.mu.Unlock()
	return slices.Clone(r.sums.kept)
}

// sumUp has the replicas compute checksums of the whole state, round after round, until
// ctx ends.
func (l *leadership) sumUp(ctx context.Context) {
	r := l.replica
	every := r.cfg.ChecksumEvery
	if every <= 0 {
		every = DefaultChecksumEvery
	}
	// The shards of a node, and successive leaders, do not begin all at once.
	timer := time.NewTimer(rand.N(every / 4))
	defer timer.Stop()
	var from command.Place
	begun := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		r.mu.RLock()
		steps := 1 + r.state.Size()/checksumBytes
		r.mu.RUnlock()
		pause := max(every/time.Duration(steps), checksumPause)
		if from == (command.Place{}) {
			begun = time.Now()
		}
		done, err := l.sumStep(ctx, from, min(pause/2, time.Second))
		switch {
		case errors.Is(err, store.ErrNotLeader):
			return
		case err != nil: // the queue may be full
		case done:
			from = command.Place{}
			pause = max(pause, time.Until(begun.Add(every)))
		default:
			from, _ = r.sums.next()
		}
		timer.Reset(pause)
	}
}

// sumStep has the replicas read on from a place, and reports whether that was the end of
// a round.
func (l *leadership) sumStep(ctx context.Context, from command.Place, patience time.Duration) (done bool, err error) {
	answer := make(chan error, 1)
	w := Waiter{Patience: patience, Done: func(_ command.Result, err error) { answer <- err }}
	cmd := &command.Checksum{From: from, MaxBytes: checksumBytes}
	if err := l.proposer.add(command.AppendCommand(nil, cmd), w); err != nil {
		return false, err
	}
	select {
	case err = <-answer:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err == nil {
		_, done = l.replica.sums.next()
	}
	return done, err
}
