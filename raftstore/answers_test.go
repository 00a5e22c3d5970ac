package raftstore

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/belfry-im/belfry/raftstore/peer"
	"github.com/belfry-im/belfry/raftstore/replica"
	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
)

// A caller may hold what its done needs: whatever refuses an operation, done is called
// later, and once.
func TestAddAnswersLater(t *testing.T) {
	for name, begin := range map[string]func(*line){
		"closed":   (*line).close,
		"full":     func(ln *line) { ln.limit = 1; ln.bytes = 1 },
		"given up": func(ln *line) { ln.gaveUp = map[command.UserID]time.Time{"a": time.Now()} },
		"refused":  func(ln *line) { ln.find = func() leaderEnd { return refusing{} } },
	} {
		ln := newLine(1<<20, func() leaderEnd { return nil }, nil)
		begin(ln)
		var later []func()
		ln.later = func(op *operation, a answer) { later = append(later, func() { op.done(a) }) }
		var held sync.Mutex // as a session's
		held.Lock()
		answered := 0
		ln.add(&operation{key: "a", encoded: []byte("x"), done: func(a answer) {
			held.Lock()
			defer held.Unlock()
			if a.err == nil {
				t.Errorf("%s: no error", name)
			}
			answered++
		}})
		held.Unlock()
		for _, f := range later {
			f()
		}
		if answered != 1 {
			t.Errorf("%s: answered %d times, want once", name, answered)
		}
		ln.close()
	}
}

// A refusing leader takes nothing and stays.
type refusing struct{}

func (refusing) send(*operation, func(*peer.Answer)) (kept bool, err error) {
	return false, &command.RefusedError{Code: command.CodeBadRequest}
}

// What a leadership left undone goes back to the shard that had it, although the map says
// by now that another one owns its key.
func TestLostGoesToItsShard(t *testing.T) {
	s := &Store{cluster: &cluster{}} // without owners: to ask whose key it is would panic
	of := &shardRef{store: s, line: newLine(1<<20, func() leaderEnd { return nil }, nil)}
	here := &localShard{shardRef: of}
	answered := make(chan answer, 1)
	w := &replica.Waiter{Key: "alice", Done: func(r command.Result, err error) { answered <- answer{result: r, err: err} }}
	if !here.lost([]byte("command"), w, nil) || of.line.parked() != 1 {
		t.Errorf("%d operations are parked, want the one that was lost", of.line.parked())
	}
	of.line.close()
	if a := <-answered; !errors.Is(a.err, store.ErrUnknown) {
		t.Errorf("in the end: %v, want ErrUnknown", a.err)
	}
}

// Nodes may be lost while the store is closed: nothing is started then.
func TestPeerLostDuringClose(t *testing.T) {
	c := newTestCluster(t, 3, 2, nil)
	s := c.store(0)
	stop := make(chan struct{})
	var losing sync.WaitGroup
	for _, n := range c.others(0) {
		losing.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					s.PeerLost(c.nodes[n].id, true)
				}
			}
		})
	}
	c.nodes[0].settle()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	close(stop)
	losing.Wait()
	s.cluster.start(func() { t.Error("something is started in a closed cluster") })
	s.cluster.background.Wait()
}
