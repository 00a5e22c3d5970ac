package contract

// Groups under load, for scenario 25's rule within them: members who stay write,
// others come and go, the server is killed meanwhile. Every device keeps what it
// gets, as a client with storage does.
//
// What must and what may reach a device follows from a counter that stamps the
// begin and the end of every request: a message whose send began after the reply
// to a join, and was answered before the leaving began, must arrive; one that
// was answered before the join began, or sent after the leaving ended, must not.

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/wstest"
)

// A groupRun is what the devices of one run share.
type groupRun struct {
	url      string
	owner    string // user, of all groups
	ownerKey string // token of the owner
	groups   []*runGroup
	devices  []*groupDevice
	clock    atomic.Int64
	answered atomic.Int64
	stop     chan struct{}         // closed when nothing new shall begin
	broken   atomic.Pointer[error] // the first violation
}

// A runGroup is one group of a run.
type runGroup struct {
	id   string
	kind string

	mu    sync.Mutex
	sends []*groupSend
}

// A groupSend is one message, answered or not. Times are those of the run's
// counter; 0 is not yet.
type groupSend struct {
	from, cid       string
	n               int // of its sender in this group
	begun, answered int64
	seq             int64
	id              string
}

// A membership is a user's in a group, from a join to its end. Times are as in groupSend:
// joined and left are of the replies.
type membership struct {
	begun, joined, leaving, left int64
	// heard is set once the device's session was told of this membership: cursors
	// that it gets are no longer those of the membership before.
	heard bool
	// unsure is set once a session of the device ended at a point from where what it
	// missed cannot be had any more.
	unsure bool
}

// must reports whether a member has to get what was sent.
func (m *membership) must(s *groupSend) bool {
	return !m.unsure && m.joined != 0 && s.begun > m.joined && (m.leaving == 0 || s.answered < m.leaving)
}

// may reports whether a member can have got it.
func (m *membership) may(s *groupSend) bool {
	return s.answered > m.begun && (m.left == 0 || s.begun < m.left)
}

func (r *groupRun) now() int64 { return r.clock.Add(1) }

func (r *groupRun) violation(err error) { r.broken.CompareAndSwap(nil, &err) }

func (r *groupRun) failIfBroken(t *testing.T) {
	t.Helper()
	if err := r.broken.Load(); err != nil {
		t.Fatal(*err)
	}
}

func (r *groupRun) progress(t *testing.T, n int64) {
	t.Helper()
	until := r.answered.Load() + n
	wstest.Eventually(t, fmt.Sprintf("%d answers", n), func() bool {
		r.failIfBroken(t)
		return r.answered.Load() >= until
	})
}

func (r *groupRun) stopped() bool {
	select {
	case <-r.stop:
		return true
	default:
		return false
	}
}

// check compares what everybody has with what was sent, and with the history.
func (r *groupRun) check(errorf wstest.Reporter, history map[string][]wstest.Message) {
	for _, g := range r.groups {
		for _, d := range r.devices {
			lost, leaked := d.lost(g)
			for _, report := range []string{lost, leaked} {
				if report != "" {
					errorf("%s", report)
				}
			}
		}
		byID := map[string]*groupSend{}
		for _, s := range g.sends {
			byID[s.id] = s
		}
		next := map[string]int{}
		for i, m := range history[g.id] {
			s := byID[m.ID]
			if s == nil || s.seq != m.Seq || m.Seq != int64(i+1) {
				errorf("history of %s: message %d is %v, sent as %v", g.id, i+1, m, s)
				return
			}
			if next[s.from]++; s.n != next[s.from] {
				errorf("history of %s: seq %d is number %d of %s, want %d", g.id, m.Seq, s.n, s.from, next[s.from])
			}
		}
		if len(history[g.id]) != len(g.sends) {
			errorf("history of %s has %d messages, want %d", g.id, len(history[g.id]), len(g.sends))
		}
	}
}

// arrived reports whether everything that was sent has arrived.
func (r *groupRun) arrived() bool {
	for _, d := range r.devices {
		d.mu.Lock()
		settled := d.settled
		d.mu.Unlock()
		if !settled {
			return false
		}
		for _, g := range r.groups {
			if lost, _ := d.lost(g); lost != "" {
				return false
			}
		}
	}
	return true
}
