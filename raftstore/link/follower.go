package link

import (
	"errors"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// A follower is what a leader's calls have learnt of another replica.
type follower struct {
	mu       sync.Mutex
	progress Progress
	asked    uint64 // newest term in which something was sent to it
	answered bool
	failed   string // last error that was logged
}

// A Progress is what a follower is known to have.
type Progress struct {
	Term    uint64    // of the leader that it was learnt as
	Matched uint64    // last index that it has, as of its last answer to AppendEntries or InstallSnapshot
	Moved   time.Time // when Matched last changed
	Heard   time.Time // when it last answered anything
}

// Progress returns what a follower is known to have, and reports false if it has not
// answered yet.
func (t *Transport) Progress(id raft.ServerID) (Progress, bool) {
	t.mu.Lock()
	f := t.followers[id]
	t.mu.Unlock()
	if f == nil {
		return Progress{}, false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.progress, f.answered
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

// heard notes an answer in a term. matched is 0 if it says nothing of that.
func (f *follower) heard(term, matched uint64) {
	now := time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	p := &f.progress
	if term < p.Term {
		return
	}
	if term > p.Term {
		*p = Progress{Term: term, Moved: now}
	}
	p.Heard, f.answered, f.failed = now, true, ""
	if matched > p.Matched {
		p.Matched, p.Moved = matched, now
	}
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

// await waits until a follower's node is connected and the gate is open, or until the
// call is not wanted any more. stop is closed when the gate is shut.
func (t *Transport) await(id raft.ServerID, f *follower, term uint64) (s *session, stop <-chan struct{}, err error) {
	var tick *time.Ticker
	for {
		if t.ctx.Err() != nil {
			return nil, nil, raft.ErrTransportShutdown
		}
		p, err := t.nodeOf(id)
		if err != nil {
			return nil, nil, err
		}
		shut, shutting, opening := t.gate()
		s, changed := p.current()
		if s != nil && !shut {
			return s, shutting, nil
		}
		if !f.ask(term) {
			return nil, nil, errOutdated
		}
		if current, running := t.term(); !running {
			return nil, nil, errShutDown
		} else if current > term {
			return nil, nil, errOutdated
		}
		if tick == nil {
			tick = time.NewTicker(lookEvery)
			defer tick.Stop()
		}
		if !shut {
			opening = nil
		}
		if s != nil {
			changed = nil
		}
		select {
		case <-t.ctx.Done():
		case <-opening:
		case <-changed:
		case <-tick.C:
		}
	}
}

// persist repeats a call to a follower until it is answered or not wanted any more.
func (t *Transport) persist(id raft.ServerID, term uint64, call func(*session, <-chan struct{}) error) error {
	f := t.follower(id)
	f.ask(term)
	pause := retryMin
	var failing time.Time // since when calls fail although the node is connected
	for try := 1; ; try++ {
		s, stop, err := t.await(id, f, term)
		if err != nil {
			return err
		}
		if err = call(s, stop); err == nil {
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
