package raftstore

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/belfry-im/belfry/raftstore/peer"
	"github.com/belfry-im/belfry/raftstore/placement"
	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
)

// A scripted is a shard as a line sees it, whose leaders refuse, die and answer late.
// What is committed is kept, and what is proposed in a leadership is committed in order.
type scripted struct {
	rnd  *rand.Rand
	line *line
	lead leads

	mu     sync.Mutex
	log    []string        // committed, in order
	known  map[string]bool // committed once: a repeat changes nothing
	leader *scriptedEnd    // nil while there is none
	term   uint64
	tasks  sync.WaitGroup
}

// A scriptedEnd is one leadership on another node.
type scriptedEnd struct {
	*scripted
	term   uint64
	over   bool         // it refuses everything
	broken bool         // the way to it is broken
	queue  []scriptedOp // not committed
}

type scriptedOp struct {
	cid  string
	done func(*peer.Answer)
}

func (e *scriptedEnd) send(op *operation, done func(*peer.Answer)) (kept bool, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.broken:
		return false, peer.ErrBroken
	case e.over:
		e.lead.refused(e.term)
		return false, store.NotLeader("over")
	}
	e.queue = append(e.queue, scriptedOp{string(op.encoded), done})
	return true, nil
}

// commit commits the first n of the queue, and answers them unless they are to be lost.
func (e *scriptedEnd) commit(n int, answerThem bool) {
	e.mu.Lock()
	n = min(n, len(e.queue))
	ops := e.queue[:n]
	e.queue = e.queue[n:]
	for _, op := range ops {
		if !e.known[op.cid] {
			e.known[op.cid] = true
			e.log = append(e.log, op.cid)
		}
	}
	delay := time.Duration(e.rnd.IntN(30)) * time.Millisecond
	e.mu.Unlock()
	if !answerThem {
		return
	}
	e.tasks.Go(func() {
		time.Sleep(delay)
		for _, op := range ops {
			op.done(&peer.Answer{Body: peer.AppendResult(nil, &command.Result{Detail: op.cid})})
		}
	})
}

// fail ends the leadership. What is in its queue is answered by err, maybe late; some
// of it may be committed by the next leader.
func (e *scriptedEnd) fail(err error) {
	e.mu.Lock()
	e.over = true
	e.broken = errors.Is(err, peer.ErrBroken)
	ops := e.queue
	e.mu.Unlock()
	e.commit(e.rnd.IntN(len(ops)+1), e.rnd.IntN(3) == 0)
	e.mu.Lock()
	rest := e.queue
	delay := time.Duration(e.rnd.IntN(200)) * time.Millisecond
	e.mu.Unlock()
	e.tasks.Go(func() {
		time.Sleep(delay)
		for _, op := range rest {
			if !errors.Is(err, peer.ErrBroken) {
				e.lead.refused(e.term)
			}
			op.done(&peer.Answer{Err: err})
		}
	})
}

func (s *scripted) find() leaderEnd {
	if node, _, _ := s.lead.get(); node == "" {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leader == nil {
		return nil
	}
	return s.leader
}

// elect makes a new leader.
func (s *scripted) elect() {
	s.mu.Lock()
	s.term++
	s.leader = &scriptedEnd{scripted: s, term: s.term}
	term := s.term
	s.mu.Unlock()
	s.line.wake(s.lead.learn(placement.NodeID(fmt.Sprint("node", term)), term))
}

// Through leaders that refuse, die with unknown outcomes, come back in another term and
// answer late, commands of each key are first committed in the order of their
// submission, each is answered once, and none that was acknowledged is lost.
func TestLineKeepsOrder(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { runLine(t, seed) })
		})
	}
}

func runLine(t *testing.T, seed uint64) {
	s := &scripted{rnd: rand.New(rand.NewPCG(seed, 0)), known: make(map[string]bool)}
	s.line = newLine(1<<20, s.find, nil)
	const keys, each = 3, 200
	type fate struct{ acked, failed int }
	var mu sync.Mutex
	fates := make(map[string]*fate)
	var clients sync.WaitGroup
	for key := range keys {
		rnd := rand.New(rand.NewPCG(seed, uint64(key+1)))
		clients.Go(func() {
			for n := range each {
				cid := fmt.Sprintf("%d/%d", key, n)
				op := &operation{kind: peer.Command, encoded: []byte(cid)}
				op.done = func(a answer) {
					mu.Lock()
					defer mu.Unlock()
					f := fates[cid]
					switch {
					case a.err == nil && a.result.Detail == cid:
						f.acked++
					case errors.Is(a.err, store.ErrUnavailable) || errors.Is(a.err, store.ErrUnknown):
						f.failed++
					default:
						t.Errorf("%s is answered by %+v", cid, a)
					}
				}
				mu.Lock()
				fates[cid] = new(fate)
				mu.Unlock()
				s.line.add(op)
				if rnd.IntN(4) == 0 {
					time.Sleep(time.Duration(rnd.IntN(40)) * time.Millisecond)
				}
			}
		})
	}
	var script sync.WaitGroup
	script.Go(func() {
		for range 150 {
			time.Sleep(time.Duration(s.rnd.IntN(40)) * time.Millisecond)
			s.mu.Lock()
			e := s.leader
			s.mu.Unlock()
			switch what := s.rnd.IntN(10); {
			case e == nil:
				s.elect()
			case what == 0:
				e.fail(store.NotLeader("stepped down"))
			case what == 1:
				e.fail(errors.Join(store.ErrUnknown, errors.New("leadership lost")))
			case what == 2:
				e.fail(peer.ErrBroken)
			case what == 3: // another one is elected while this one answers on
				s.elect()
				e.fail(store.NotLeader("late"))
				continue
			default:
				e.commit(1+s.rnd.IntN(30), true)
				continue
			}
			if e != nil {
				s.mu.Lock()
				s.leader = nil
				s.mu.Unlock()
			}
		}
		// Heal: the last leader takes everything.
		s.elect()
		for range 100 {
			time.Sleep(20 * time.Millisecond)
			s.mu.Lock()
			e := s.leader
			s.mu.Unlock()
			e.commit(1000, true)
		}
	})
	clients.Wait()
	script.Wait()
	s.tasks.Wait()
	time.Sleep(2 * leaderPatience)
	s.line.close()
	synctest.Wait()

	acked := 0
	for cid, f := range fates {
		if f.acked+f.failed != 1 {
			t.Errorf("%s: answered %d times, %d of them by an error", cid, f.acked+f.failed, f.failed)
		}
		if f.acked > 0 && !s.known[cid] {
			t.Errorf("%s: acknowledged and lost", cid)
		}
		acked += f.acked
	}
	if acked < keys*each*9/10 {
		t.Errorf("%d of %d were acknowledged", acked, keys*each)
	}
	last := make(map[int]int)
	for _, cid := range s.log {
		var key, n int
		fmt.Sscanf(cid, "%d/%d", &key, &n)
		if n < last[key] {
			t.Fatalf("%s was committed behind %d/%d", cid, key, last[key])
		}
		last[key] = n
	}
	if len(s.log) < acked || slices.Contains(s.log, "") {
		t.Errorf("%d committed, %d acknowledged", len(s.log), acked)
	}
}

// What waits is bounded in bytes and in time, and says whether it may have happened.
func TestLineIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{rnd: rand.New(rand.NewPCG(1, 1)), known: make(map[string]bool)}
		s.line = newLine(10*(operationBytes+1), s.find, nil)
		var errs []error
		add := func() {
			s.line.add(&operation{encoded: []byte("x"), done: func(a answer) { errs = append(errs, a.err) }})
		}
		for range 11 {
			add()
		}
		if len(errs) != 1 || !errors.Is(errs[0], store.ErrUnavailable) {
			t.Fatalf("past the bound: %v, want ErrUnavailable once", errs)
		}
		start := time.Now()
		time.Sleep(leaderPatience - time.Second)
		s.elect()
		e := s.leader
		s.leader = nil
		for _, op := range e.queue { // none of them is committed, which nobody knows
			op.done(&peer.Answer{Err: peer.ErrBroken})
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if took := time.Since(start); len(errs) != 11 || took > leaderPatience+2*time.Second {
			t.Fatalf("%d answered after %v, want 11", len(errs), took)
		}
		for _, err := range errs[1:] {
			if !errors.Is(err, store.ErrUnknown) { // a leader had them
				t.Errorf("answered by %v, want ErrUnknown", err)
			}
		}
		s.tasks.Wait()
		add()
		s.line.close()
		add()
		if len(errs) != 13 || s.line.bytes != 0 {
			t.Errorf("%d answered after close, %d bytes left", len(errs), s.line.bytes)
		}
	})
}

// What gives up takes along all that waits behind it for the same key, and what comes
// before its caller can know of that, but nothing else: the caller may be at another node
// by then, and send all of it again from there.
func TestLineGivesUpInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{rnd: rand.New(rand.NewPCG(1, 1)), known: make(map[string]bool)}
		s.line = newLine(1<<20, s.find, nil)
		var mu sync.Mutex
		failed := make(map[string]bool)
		add := func(key command.UserID, cid string) {
			letter := strings.HasPrefix(cid, "letter")
			s.line.add(&operation{key: key, encoded: []byte(cid), letter: letter, done: func(a answer) {
				mu.Lock()
				defer mu.Unlock()
				failed[cid] = a.err != nil
			}})
		}
		add("ann", "ann 1")
		add("", "read 1")
		add("ben", "letter 1")
		time.Sleep(leaderPatience - time.Second)
		add("ben", "ben 1")
		add("ann", "ann 2")
		add("", "read 2")
		time.Sleep(time.Second + lineMost)
		add("ann", "ann 3")
		add("ann", "letter 2")
		add("", "read 3")
		s.elect()
		add("ann", "ann 4")
		time.Sleep(store.AfterNoLeader + time.Millisecond)
		add("ann", "ann 5")
		s.leader.commit(10, true)
		s.tasks.Wait()
		s.line.close()
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		for cid, want := range map[string]bool{
			"ann 1": true, "ann 2": true, "ann 3": true, "ann 4": true, "ann 5": false, "ben 1": false,
			"read 1": true, "read 2": false, "read 3": false, "letter 1": true, "letter 2": false,
		} {
			if failed[cid] != want {
				t.Errorf("%s failed: %v, want %v", cid, failed[cid], want)
			}
		}
		if want := []string{"ben 1", "read 2", "letter 2", "read 3", "ann 5"}; !slices.Equal(s.log, want) {
			t.Errorf("%v was committed, want %v", s.log, want)
		}
	})
}

// A breakingEnd takes operations, and breaks before it answers one.
type breakingEnd struct{ sent int }

func (e *breakingEnd) send(_ *operation, done func(*peer.Answer)) (kept bool, err error) {
	e.sent++
	go done(&peer.Answer{Err: peer.ErrBroken})
	return true, nil
}

// A way to the leader that breaks again and again is tried in pauses that grow, until an
// answer comes.
func TestLinePausesForBrokenWays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := new(breakingEnd)
		ln := newLine(1<<20, func() leaderEnd { return e }, nil)
		ln.add(&operation{kind: peer.Committed, done: func(answer) {}})
		time.Sleep(time.Second)
		synctest.Wait()
		if atMost := int(time.Second/lineMost) + 5; e.sent < 5 || e.sent > atMost {
			t.Errorf("sent %d times within a second, want 5 to %d", e.sent, atMost)
		}
		ln.close()
	})
}

// What a leadership of this node gives back, one after the other and late, is not given up
// before all of it is back.
func TestLineGivesUpNothingHalfBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{rnd: rand.New(rand.NewPCG(1, 1)), known: make(map[string]bool)}
		s.line = newLine(1<<20, s.find, nil)
		here := new(leader)
		s.line.begin(here)
		takeBack := func(cid string) {
			s.line.takeBack(&operation{key: "ann", encoded: []byte(cid), done: func(a answer) {
				if a.err != nil {
					t.Errorf("%s: %v", cid, a.err)
				}
			}})
		}
		takeBack("ann 1")
		time.Sleep(leaderPatience + 2*afterGiveUp)
		takeBack("ann 2")
		s.line.ended(here)
		s.elect()
		s.leader.commit(10, true)
		s.tasks.Wait()
		s.line.close()
		synctest.Wait()
		if want := []string{"ann 1", "ann 2"}; !slices.Equal(s.log, want) {
			t.Errorf("%v was committed, want %v", s.log, want)
		}
	})
}

// A node believes no older leader than it has heard of.
func TestLeads(t *testing.T) {
	var k leads
	if node, term, _ := k.get(); node != "" || term != 0 {
		t.Errorf("leader %q in %d from the start", node, term)
	}
	_, _, changed := k.get()
	if !k.learn("a", 5) || k.learn("b", 4) || k.learn("b", 5) {
		t.Error("terms that do not rise are news")
	}
	<-changed
	k.refused(4)
	if node, term, _ := k.get(); node != "a" || term != 5 {
		t.Errorf("leader %q in %d, want a in 5", node, term)
	}
	k.refused(5)
	if node, term, _ := k.get(); node != "" || term != 5 {
		t.Errorf("leader %q in %d, want none after 5", node, term)
	}
	if k.learn("a", 5) || !k.learn("b", 6) {
		t.Error("a leadership that has ended is believed, or the next one is not")
	}
}

// A failingEnd takes an operation and gives it back before the line has noted that it has
// left. The second time it answers.
type failingEnd struct {
	line *line
	back chan struct{}
	sent int
}

func (e *failingEnd) send(op *operation, _ func(*peer.Answer)) (kept bool, err error) {
	if e.sent++; e.sent > 1 {
		go op.done(answer{})
		return false, nil
	}
	go func() {
		e.line.takeBack(op)
		close(e.back)
	}()
	time.Sleep(20 * time.Millisecond)
	return false, nil
}

// What a leadership gives back at the moment at which it gets it is not lost.
func TestLineTakesBackAtOnce(t *testing.T) {
	e := &failingEnd{back: make(chan struct{})}
	e.line = newLine(1<<20, func() leaderEnd { return e }, nil)
	defer e.line.close()
	done := make(chan struct{})
	e.line.add(&operation{encoded: []byte("x"), done: func(answer) { close(done) }})
	<-e.back
	e.line.ended(nil)
	select {
	case <-done:
	case <-time.After(2 * leaderPatience):
		t.Fatal("never answered")
	}
}

// A keepingEnd keeps all that it gets.
type keepingEnd struct{ done []func(*peer.Answer) }

func (e *keepingEnd) send(_ *operation, done func(*peer.Answer)) (kept bool, err error) {
	e.done = append(e.done, done)
	return true, nil
}

// A login whose client has gone is not sent, unless a leader may have executed it: then
// only sending it again finds its session.
func TestLineWithdraws(t *testing.T) {
	for name, doubt := range map[string]bool{"not sent yet": false, "in doubt": true} {
		t.Run(name, func(t *testing.T) {
			var leader *keepingEnd
			ln := newLine(1<<20, func() leaderEnd {
				if leader == nil {
					return nil
				}
				return leader
			}, nil)
			defer ln.close()
			gone := false
			var answers []error
			op := &operation{
				kind: peer.Login, asked: time.Now(), gone: func() bool { return gone },
				done: func(a answer) { answers = append(answers, a.err) },
			}
			if doubt {
				leader = new(keepingEnd)
			}
			ln.add(op)
			if doubt {
				ended := leader
				leader = nil
				ended.done[0](&peer.Answer{Err: store.NotLeader("over")})
			}
			gone = true
			leader = new(keepingEnd)
			ln.wake(true)
			if sent := len(leader.done) > 0; sent != doubt {
				t.Errorf("sent to the next leader: %t, want %t", sent, doubt)
			}
			if doubt {
				if len(answers) > 0 {
					t.Errorf("answered with %v before the leader has", answers)
				}
				return
			}
			if len(answers) != 1 || !errors.Is(answers[0], store.ErrUnavailable) || errors.Is(answers[0], store.ErrUnknown) {
				t.Errorf("answers %v, want one ErrUnavailable that is no ErrUnknown", answers)
			}
			if n := ln.parked(); n != 0 || ln.bytes != 0 {
				t.Errorf("%d operations of %d bytes are left in the line", n, ln.bytes)
			}
		})
	}
}

// A process that was frozen goes on with what it had begun: that it has given something up
// holds for as long as if it had not been frozen.
func TestLineFrozenAfterGivingUp(t *testing.T) {
	at := time.Now()
	ln := newLine(1<<20, func() leaderEnd { return nil }, nil)
	ln.ticked = at
	ln.gaveUp = map[command.UserID]time.Time{"ann": at}
	overtakes := func() bool {
		ln.mu.Lock()
		defer ln.mu.Unlock()
		ln.expire(at)
		return ln.overtakes(&operation{key: "ann"})
	}
	if at = at.Add(time.Hour); !overtakes() {
		t.Error("what was given up may be overtaken after an hour in which the process was frozen")
	}
	for range 2 * afterGiveUp / lineMost {
		at = at.Add(lineMost)
		overtakes()
	}
	if overtakes() {
		t.Error("what was given up may never be overtaken")
	}
	ln.close()
}

// A promptEnd answers at once.
type promptEnd struct{}

func (promptEnd) send(_ *operation, done func(*peer.Answer)) (kept bool, err error) {
	go done(&peer.Answer{Body: peer.AppendResult(nil, new(command.Result))})
	return true, nil
}

// However much others submit, what finds no leader is given up in time, and its key is taken
// again soon after.
func TestLineTicksUnderLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var led atomic.Bool
		ln := newLine(1<<20, func() leaderEnd {
			if led.Load() {
				return promptEnd{}
			}
			return nil
		}, nil)
		defer ln.close()
		load := func(key command.UserID, d time.Duration) {
			for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(lineFirst / 2) {
				ln.add(&operation{kind: peer.Command, key: key, done: func(answer) {}})
			}
			synctest.Wait()
		}
		answered := func(what string, err error) func() {
			var answers []error
			ln.add(&operation{kind: peer.Command, key: "ann", done: func(a answer) { answers = append(answers, a.err) }})
			return func() {
				t.Helper()
				if len(answers) != 1 || !errors.Is(answers[0], err) {
					t.Errorf("%s: answers %v, want %v", what, answers, err)
				}
			}
		}
		check := answered("no leader", store.ErrNoLeader)
		load("ben", leaderPatience+2*lineMost)
		check()
		led.Store(true)
		load("carl", store.AfterNoLeader+time.Millisecond)
		check = answered("a leader", nil)
		load("carl", lineMost)
		check()
	})
}
