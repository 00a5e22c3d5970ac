package raftstore

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/belfry-im/belfry/raftstore/peer"
	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/prometheus/client_golang/prometheus"
)

const (
	// leaderPatience is how long an operation waits for a leader, from when it first had
	// to. Then it is answered with store.ErrUnknown if a leader may have executed it,
	// else with store.ErrUnavailable.
	leaderPatience = 5 * time.Second
	// afterGiveUp is for how long after such an answer what comes for the same key is refused
	// too: it was sent before the caller saw that answer. It ends with the next tick, so before
	// the caller, who is asked to wait, comes again. Of one conversation also what comes later
	// is refused, see gateway/gaps.go. Time in which the process was frozen does not count.
	afterGiveUp = store.AfterNoLeader - lineMost
	// lineFirst and lineMost bound the pause between two attempts to find a leader that
	// nobody has told of.
	lineFirst = 10 * time.Millisecond
	lineMost  = 100 * time.Millisecond
)

// A leaderEnd takes operations for one leadership of a shard.
type leaderEnd interface {
	// send passes on an operation. It returns store.ErrNotLeader or peer.ErrBroken if
	// the leadership, or the way to it, has ended: then it takes nothing any more.
	//
	// kept reports whether the operation stays in the line: until done is called or,
	// after a store.ErrUnavailable, to be sent again later. Otherwise it has left the
	// line, done is not called, and an error is its answer; it comes back by
	// line.takeBack if the leadership ends first.
	send(op *operation, done func(*peer.Answer)) (kept bool, err error)
}

// A line keeps, in order, what this node asks of one shard while that shard's leader is
// on another node or not known. What is unanswered when a leadership ends is sent again
// to the next one, in the order in which it was submitted: commands are safe to repeat.
//
// While this node leads the shard, operations go past the line, which is empty then;
// those that the leadership leaves unanswered at its end come back, before all that was
// submitted since.
type line struct {
	limit    int           // bytes of operations; further ones get ErrUnavailable
	patience time.Duration // leaderPatience, except in tests
	// find returns where the leader is, nil while it is not known. It is called with mu
	// held, and must not call the line.
	find func() leaderEnd
	// moved takes over an operation whose slot is frozen or gone.
	moved func(*operation)
	// later answers an operation on another goroutine; nil: done is called at once.
	later  func(*operation, answer)
	resent prometheus.Counter // operations that are sent again; nil: not counted

	// direct is the leadership that takes operations without the line: this node's,
	// while nothing waits. It is set and reset with mu held.
	direct atomic.Pointer[leader]

	mu      sync.Mutex
	waiting []*operation // oldest first; those that are over stay until they are at the front
	sent    int          // how many at the front of waiting are with to
	bytes   int          // of waiting
	to      leaderEnd    // nil while the line is parked
	closed  bool
	timer   *time.Timer                  // ticks while the line is parked and not empty, or gaveUp is not
	next    time.Time                    // when timer ticks next, zero while it is stopped
	pause   time.Duration                // of timer; rises until a leader answers, or is told of
	gaveUp  map[command.UserID]time.Time // when operations for a key were given up, until afterGiveUp has passed
	ticked  time.Time                    // when timer ticked last

	here *leader      // this node's leadership, from begin to ended
	lost []*operation // what came back of it, in order; older than waiting
}

func newLine(limit int, find func() leaderEnd, moved func(*operation)) *line {
	ln := &line{limit: limit, patience: leaderPatience, find: find, moved: moved}
	ln.timer = time.AfterFunc(time.Hour, ln.tick)
	ln.timer.Stop()
	return ln
}

// add appends an operation, and sends it unless others wait before it. It calls no done:
// its caller may hold what that needs.
func (ln *line) add(op *operation) {
	op.size = len(op.encoded) + operationBytes
	op.over = false
	ln.mu.Lock()
	switch {
	case ln.closed:
		ln.mu.Unlock()
		ln.answerLater(op, answer{err: store.Unavailable(store.DefaultRetryAfter, "the store is closed")})
		return
	case ln.bytes+op.size > ln.limit && ln.bytes > 0:
		ln.mu.Unlock()
		ln.answerLater(op, answer{err: store.Unavailable(time.Second, "too much waits for the leader of the shard")})
		return
	case ln.overtakes(op):
		ln.mu.Unlock()
		ln.answerLater(op, answer{err: store.ErrNoLeader})
		return
	}
	ln.bytes += op.size
	ln.waiting = append(ln.waiting, op)
	due := ln.flush()
	ln.mu.Unlock()
	for _, r := range due {
		ln.answerLater(r.op, r.answer)
	}
}

func (ln *line) answerLater(op *operation, a answer) {
	if ln.later != nil {
		ln.later(op, a)
	} else {
		op.done(a)
	}
}

// overtakes reports whether operations for the same key were given up so lately that this
// one was sent without knowing of that. The caller holds mu.
func (ln *line) overtakes(op *operation) bool {
	_, is := ln.gaveUp[op.key]
	return is && !op.letter
}

// A reply is an answer that is due once the line is unlocked.
type reply struct {
	op *operation
	answer
	from *peer.Answer // instead of answer: it has to be read
}

// unlock unlocks the line and then answers, since done may submit further operations.
func (ln *line) unlock(due []reply) {
	ln.mu.Unlock()
	for _, r := range due {
		if r.from != nil {
			r.answer = r.op.read(r.from)
			r.err = r.op.certain(r.err)
		}
		if r.result.Code == command.CodeMoved && !r.op.letter {
			ln.moved(r.op)
		} else {
			r.op.done(r.answer)
		}
	}
}

// flush sends what can be sent. The caller holds mu, and passes on the answers, which are
// errors.
func (ln *line) flush() (due []reply) {
	if ln.to == nil && ln.sent < len(ln.waiting) && len(ln.lost) == 0 {
		if ln.here != nil {
			ln.to = ln.here
		} else {
			ln.to = ln.find()
		}
	}
	for ln.to != nil && ln.sent < len(ln.waiting) {
		op := ln.waiting[ln.sent]
		if op.over {
			ln.sent++
			continue
		}
		if op.withdrawn() {
			ln.remove(op)
			due = append(due, reply{op: op, answer: answer{err: errWithdrawn}})
			continue
		}
		op.try++
		try := op.try
		again := op.doubt // read now: what is not kept may be gone already
		kept, err := ln.to.send(op, func(a *peer.Answer) { ln.answered(op, try, a) })
		if again && err == nil && ln.resent != nil {
			ln.resent.Inc()
		}
		switch {
		case err == nil && kept:
			ln.sent++
		case err == nil:
			ln.remove(op)
			ln.pause = 0
		case errors.Is(err, store.ErrNotLeader), errors.Is(err, peer.ErrBroken):
			ln.park()
		case errors.Is(err, store.ErrUnavailable) && kept:
			ln.schedule()
			return due
		default:
			ln.remove(op)
			due = append(due, reply{op: op, answer: answer{err: op.certain(err)}})
		}
	}
	ln.settle()
	return due
}

// parked returns how many operations are with no leader.
func (ln *line) parked() (n int) {
	ln.mu.Lock()
	defer ln.mu.Unlock()
	for _, op := range ln.waiting[ln.sent:] {
		if !op.over {
			n++
		}
	}
	return n + len(ln.lost)
}

// settle opens the way past the line if this node leads and nothing waits, and sees to
// the timer. The caller holds mu.
func (ln *line) settle() {
	ln.trim()
	if ln.here != nil && len(ln.waiting) == 0 && len(ln.lost) == 0 && len(ln.gaveUp) == 0 && !ln.closed {
		ln.direct.Store(ln.here)
	}
	if ln.sent < len(ln.waiting) || len(ln.lost) > 0 || len(ln.gaveUp) > 0 {
		ln.schedule()
	} else {
		ln.timer.Stop()
		ln.next = time.Time{}
	}
}

// schedule makes the timer look again after a pause, and gives operations that wait a
// time at which they give up. It puts off no tick: it may be called all the time. The
// caller holds mu.
func (ln *line) schedule() {
	now := time.Now()
	giveUp := now.Add(ln.patience)
	for _, list := range [...][]*operation{ln.lost, ln.waiting[ln.sent:]} {
		for _, op := range list {
			if !op.over && op.giveUp.IsZero() {
				op.giveUp = giveUp
			}
		}
	}
	ln.pause = min(max(lineFirst, 2*ln.pause), lineMost)
	if at := now.Add(ln.pause); ln.next.IsZero() || at.Before(ln.next) {
		ln.next = at
		ln.timer.Reset(ln.pause)
	}
}

// park takes back what is with a leader that has ended. The caller holds mu.
func (ln *line) park() {
	for _, op := range ln.waiting[:ln.sent] {
		if !op.over { // what is over belongs to whoever answers it
			op.try++
			op.doubt = true
		}
	}
	ln.to, ln.sent = nil, 0
	ln.direct.Store(nil)
}

// remove takes an operation out of the line. The caller holds mu.
func (ln *line) remove(op *operation) {
	op.over = true
	ln.bytes -= op.size
	ln.trim()
}

// trim drops what is over at the front of the line. The caller holds mu.
func (ln *line) trim() {
	for len(ln.waiting) > 0 && ln.waiting[0].over {
		ln.waiting[0] = nil
		ln.waiting = ln.waiting[1:]
		ln.sent = max(0, ln.sent-1)
	}
	if len(ln.waiting) == 0 {
		ln.waiting = nil
	}
}

// answered handles the answer to one try of an operation.
func (ln *line) answered(op *operation, try int, a *peer.Answer) {
	ln.mu.Lock()
	if op.over || op.try != try {
		ln.mu.Unlock()
		return // it was sent again since
	}
	if errors.Is(a.Err, peer.ErrBroken) {
		ln.park()
		ln.settle() // the way may be broken for longer: find it after a pause, or when told
		ln.mu.Unlock()
		return
	}
	if leaderless(a.Err) {
		ln.park()
		ln.unlock(ln.flush())
		return
	}
	ln.remove(op)
	ln.pause = 0
	ln.settle()
	ln.unlock([]reply{{op: op, from: a}})
}

// leaderless reports whether an error says that a leadership has ended, so that the next
// one is to be asked.
func leaderless(err error) bool {
	return err != nil && (errors.Is(err, store.ErrNotLeader) || errors.Is(err, store.ErrUnknown))
}

// wake looks for the leader again. With moved, what is with the leader so far is sent
// again to the one that is found now.
func (ln *line) wake(moved bool) {
	ln.mu.Lock()
	if moved && ln.here == nil {
		ln.park()
	}
	ln.pause = 0
	ln.unlock(ln.flush())
}

// tick answers what has waited for too long, and looks for a leader again.
func (ln *line) tick() {
	ln.mu.Lock()
	if ln.closed {
		ln.mu.Unlock()
		return
	}
	ln.next = time.Time{}
	due := ln.expire(time.Now())
	ln.unlock(append(due, ln.flush()...))
}

// expire removes what has waited for too long for a leader, and all that waits behind it
// for the same key: a client that is at another node by now has seen no answer, sends all
// of it again there, and must not be overtaken by the rest of it from here. Letters have
// numbers, and are about another user than the one who sends. While a
// leadership of this node gives back what it had, nothing is removed: more of the same key
// may be to come. The caller holds mu.
func (ln *line) expire(now time.Time) (due []reply) {
	frozen := max(0, now.Sub(ln.ticked)-2*lineMost)
	ln.ticked = now
	for key, at := range ln.gaveUp {
		if at = at.Add(frozen); now.Sub(at) >= afterGiveUp {
			delete(ln.gaveUp, key)
		} else {
			ln.gaveUp[key] = at
		}
	}
	if len(ln.lost) > 0 {
		return nil
	}
	for _, op := range ln.waiting[ln.sent:] {
		_, behind := ln.gaveUp[op.key]
		behind = behind && !op.letter
		if op.over || !behind && (op.giveUp.IsZero() || now.Before(op.giveUp)) {
			continue
		}
		if op.key != "" && !op.letter { // reads have no key
			if ln.gaveUp == nil {
				ln.gaveUp = make(map[command.UserID]time.Time)
			}
			ln.gaveUp[op.key] = now
		}
		op.over = true
		ln.bytes -= op.size
		due = append(due, reply{op: op, answer: answer{err: op.certain(store.ErrNoLeader)}})
	}
	ln.trim()
	return due
}

// certain returns an error of the operation's last try, as one of all its tries: what a
// leader did not answer may have happened, whatever the next one says.
func (op *operation) certain(err error) error {
	if op.doubt && errors.Is(err, store.ErrUnavailable) {
		return errors.Join(store.ErrUnknown, err)
	}
	return err
}

// begin opens the line for a leadership of this node, which takes what waits.
func (ln *line) begin(l *leader) {
	ln.mu.Lock()
	ln.park()
	ln.here = l
	ln.unlock(ln.flush())
}

// takeBack adds an operation that the leadership of this node has left undone. They come
// in the order in which they were enqueued, before ended.
func (ln *line) takeBack(op *operation) {
	ln.mu.Lock() // first: flush may be about to remove it, since it was sent
	op.size = len(op.encoded) + operationBytes
	op.over = false
	op.doubt = true
	if ln.closed {
		ln.mu.Unlock()
		op.done(answer{err: op.certain(store.ErrNoLeader)})
		return
	}
	ln.park()
	ln.bytes += op.size
	ln.lost = append(ln.lost, op)
	ln.schedule()
	ln.mu.Unlock()
}

// ended closes the line for a leadership of this node, none of whose operations is
// undone any more.
func (ln *line) ended(l *leader) {
	ln.mu.Lock()
	if ln.here == l {
		ln.here = nil
		ln.park()
		ln.restoreLost()
	}
	ln.unlock(ln.flush())
}

// restoreLost puts what came back before all that was submitted since. The caller holds
// mu.
func (ln *line) restoreLost() {
	if len(ln.lost) > 0 {
		ln.waiting = append(ln.lost, ln.waiting...)
		ln.lost = nil
	}
}

// close answers everything that waits, and whatever is added later.
func (ln *line) close() {
	ln.mu.Lock()
	ln.closed = true
	ln.park()
	ln.timer.Stop()
	var due []reply
	for _, list := range [...][]*operation{ln.lost, ln.waiting} {
		for _, op := range list {
			if !op.over {
				op.over = true
				due = append(due, reply{op: op, answer: answer{err: op.certain(store.ErrNoLeader)}})
			}
		}
	}
	ln.lost, ln.waiting, ln.bytes = nil, nil, 0
	ln.unlock(due)
}
