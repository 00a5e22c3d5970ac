package replica

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
)

// streamWindow is how many messages of a stream are on their way at once.
const streamWindow = 16

// A stream sends one device's messages as a node's router does: addressed to the leader
// of a term, and after one failure all that is unanswered again, in the old order, to the
// next leader, without waiting for answers of the last one.
type stream struct {
	c    *testCluster
	from command.UserID

	mu   sync.Mutex
	seqs map[int]uint64 // of what is answered
}

func (s *stream) run(t *testing.T, messages int) {
	s.seqs = make(map[int]uint64)
	first := 1 // that is unanswered
	for first <= messages {
		leaders := s.c.leaders()
		if len(leaders) == 0 {
			time.Sleep(time.Millisecond)
			continue
		}
		to := leaders[len(leaders)-1]
		_, term := to.Leader()
		broken := make(chan struct{})
		var once sync.Once
		refused := func() { once.Do(func() { close(broken) }) }
		for next := first; first <= messages; {
			s.mu.Lock()
			for s.seqs[first] != 0 {
				first++
			}
			s.mu.Unlock()
			select {
			case <-broken:
			default:
				if next <= messages && next < first+streamWindow {
					s.send(t, to, term, next, refused)
					if next++; next%(streamWindow/2) == 0 {
						time.Sleep(40 * time.Millisecond)
					}
				} else {
					time.Sleep(time.Millisecond)
				}
				continue
			}
			break
		}
	}
	for n := 2; n <= messages; n++ {
		if s.seqs[n] <= s.seqs[n-1] {
			t.Errorf("%s: message %d has seq %d, the one before %d", s.from, n, s.seqs[n], s.seqs[n-1])
		}
	}
	if last := s.seqs[messages]; last != uint64(messages) {
		t.Errorf("%s: the last of %d messages has seq %d", s.from, messages, last)
	}
}

func (s *stream) send(t *testing.T, to *Replica, term uint64, n int, refused func()) {
	cmd := &command.Send{User: s.from, To: s.from + "-peer", ID: command.MsgID{14: byte(n >> 8), 15: byte(n)}, CID: fmt.Sprint(n), Body: []byte{0xc0}}
	err := to.Enqueue(term, command.AppendCommand(nil, cmd), Waiter{Done: func(result command.Result, err error) {
		switch {
		case err == nil && result.Code == command.OK:
			s.mu.Lock()
			defer s.mu.Unlock()
			if seq := s.seqs[n]; seq != 0 && seq != result.Seq {
				t.Errorf("%s: message %d was answered with seq %d, then %d", s.from, n, seq, result.Seq)
			}
			s.seqs[n] = result.Seq
		case errors.Is(err, store.ErrNotLeader) || errors.Is(err, store.ErrUnknown):
			refused()
		default:
			t.Errorf("%s: message %d: %v, %v", s.from, n, err, result)
			refused()
		}
	}})
	if err != nil {
		if !errors.Is(err, store.ErrNotLeader) {
			t.Errorf("%s: message %d: %v", s.from, n, err)
		}
		refused()
	}
}

// While the leadership changes twice a second, by transfer, by election or because the leader
// is killed, streams keep their order, and lose and double nothing.
func TestStreamsThroughLeaderChanges(t *testing.T) {
	changes := map[string]func(c *testCluster, leader string){
		"transfer": func(c *testCluster, leader string) {
			_ = c.replica(leader).Transfer(context.Background(), c.others(leader)[0]) // may be one too many
		},
		"election": func(c *testCluster, leader string) { _ = c.replica(c.others(leader)[0]).Campaign() },
		"new term": func(c *testCluster, leader string) { _ = c.replica(leader).Campaign() },
		"kill":     func(c *testCluster, leader string) { c.kill(leader); c.start(leader) },
		"close":    func(c *testCluster, leader string) { c.shut(leader); c.start(leader) },
		"partition": func(c *testCluster, leader string) {
			c.net.isolate(leader, c.ids(), true, true)
			time.Sleep(500 * time.Millisecond)
			c.net.heal()
		},
	}
	for name, change := range changes {
		bubble(t, name, func(t *testing.T) {
			c := newTestCluster(t, 1, nil, "a", "b", "c")
			c.net.set(func(n *testNet) { n.delay = 2 * time.Millisecond })
			c.leader()
			var streams sync.WaitGroup
			for n := range 4 {
				s := &stream{c: c, from: command.UserID(fmt.Sprint("stream", n))}
				streams.Go(func() { s.run(t, 400) })
			}
			done := make(chan struct{})
			go func() { streams.Wait(); close(done) }()
			changed := 0
			for going := true; going; {
				select {
				case <-done:
					going = false
				case <-time.After(time.Second / 2):
					change(c, c.leader())
					changed++
				}
			}
			if changed < 3 {
				t.Errorf("all was sent within %d changes", changed)
			}
			c.converged()
			t.Logf("%d changes", changed)
		})
	}
}
