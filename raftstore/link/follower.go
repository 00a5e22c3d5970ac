package link

import (
	"errors"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// A follower is what a leader's calls have learnt of another replica.
type follower struct {
	mu     sync.Mutex
	asked  uint64 // newest term in which something was sent to it
	failed string // last error that was logged, "" once it has answered
}

func (t *Transport) follower(id raft.ServerID) *follower {
	t.mu.Lock()
	defer t.mu.Unlock()
	f := t.followers[id]
	if f == nil {
		f = new(follower)
		t.followers[id] = f
	}
	return f
}

// ask notes that something is sent in a term, and reports whether that is the newest.
func (f *follower) ask(term uint64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = max(f.asked, term)
	return f.asked == term
}

// heard notes an answer: the next failure is logged again, whichever it is.
func (f *follower) heard() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failed = ""
}

// nodeOf returns the node that a replica is at.
func (t *Transport) nodeOf(id raft.ServerID) (*peer, error) {
	node, ok := t.locate(id)
	if !ok {
		return nil, errUnlocated
	}
	p := t.link.peer(node)
	if p == nil {
		return nil, errUnlocated
	}
	return p, nil
}

// await waits until a follower's node is connected, or until the call is not wanted any
// more.
func (t *Transport) await(id raft.ServerID, f *follower, term uint64) (*session, error) {
	var tick *time.Ticker
	for {
		if t.ctx.Err() != nil {
			return nil, raft.ErrTransportShutdown
		}
		p, err := t.nodeOf(id)
		if err != nil {
			return nil, err
		}
		s, changed := p.current()
		if s != nil {
			return s, nil
		}
		if !f.ask(term) {
			return nil, errOutdated
		}
		if current, running := t.term(); !running {
			return nil, errShutDown
		} else if current > term {
			return nil, errOutdated
		}
		if tick == nil {
			tick = time.NewTicker(lookEvery)
			defer tick.Stop()
		}
		select {
		case <-t.ctx.Done():
		case <-changed:
		case <-tick.C:
		}
	}
}

// persist repeats a call to a follower until it is answered or not wanted any more.
func (t *Transport) persist(id raft.ServerID, term uint64, call func(*session) error) error {
	f := t.follower(id)
	f.ask(term)
	pause := retryMin
	var failing time.Time // since when calls fail although the node is connected
	for try := 1; ; try++ {
		s, err := t.await(id, f, term)
		if err != nil {
			return err
		}
		if err = call(s); err == nil {
			f.heard()
			return nil
		}
		if errors.Is(err, errStopped) || errors.Is(err, errLost) {
			failing = time.Time{}
			continue // await says what now
		}
		f.note(t, id, err)
		if failing.IsZero() {
			failing = time.Now()
		} else if time.Since(failing) >= warnAfter {
			failing = time.Now()
			t.log.Warn("a replica gets nothing although its node is connected", "replica", string(id), "address", s.peer.target(kindRaft).address, "err", err)
		}
		if current, running := t.term(); !running {
			return errShutDown
		} else if current > term {
			return err
		}
		if try > pooled { // the first ones may have found what was pooled and broken
			if err := t.sleep(pause); err != nil {
				return err
			}
			pause = min(2*pause, retryMax)
		}
	}
}

// note logs an error if it is not the one before.
func (f *follower) note(t *Transport, id raft.ServerID, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if text := err.Error(); text != f.failed {
		f.failed = text
		t.log.Debug("a follower does not answer", "replica", string(id), "err", err)
	}
}

func (t *Transport) sleep(d time.Duration) error {
	wait := time.NewTimer(d)
	defer wait.Stop()
	select {
	case <-t.ctx.Done():
		return raft.ErrTransportShutdown
	case <-wait.C:
		return nil
	}
}
