//go:build linux

package main

import (
	"fmt"
	"sync"

	"github.com/belfry-im/belfry/client"
)

// A room is a group that several of its members write to, as its members know it.
// It holds them to one order: what was acknowledged is in history once, in the order
// in which each writer sent it, and every member gets all of it.
type room struct {
	group   string
	members []string // in no order; the first of them is its owner

	mu     sync.Mutex
	stored map[uint64]post   // by seq, as acknowledged
	newest map[string]uint64 // seq of each writer's last post
	sights map[string]*sight // by member
}

// A post is a message in a room: the n-th of its writer there. 1 is the first.
type post struct {
	from string
	n    int
}

func (p post) String() string { return fmt.Sprintf("post %d of %s", p.n, p.from) }

// A sight is what one member has of a room.
type sight struct {
	held map[uint64]post // by seq
	// last is the newest seq that was pushed, or that the last login told of: what is
	// newer is pushed in order, without holes.
	last uint64
	// passed are the seqs that a push has left out. They have to be the member's own
	// posts, which are answered instead.
	passed map[uint64]bool
	read   uint64 // the member's read cursor; own posts move it, too
}

func newRoom(group string, members []string) *room {
	r := &room{group: group, members: members, stored: map[uint64]post{}, newest: map[string]uint64{}, sights: map[string]*sight{}}
	for _, user := range members {
		r.sights[user] = &sight{held: map[uint64]post{}, passed: map[uint64]bool{}}
	}
	return r
}

func (r *room) conv() string { return "g:" + r.group }

func (r *room) errorf(format string, args ...any) error {
	return fmt.Errorf("%s: "+format, append([]any{r.group}, args...)...)
}

// acknowledged notes that a post was stored as seq.
func (r *room) acknowledged(p post, seq uint64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if other, taken := r.stored[seq]; taken {
		return r.errorf("seq %d is %v, and also %v", seq, other, p)
	}
	if before := r.newest[p.from]; seq <= before {
		return r.errorf("%v is seq %d, the one before it %d", p, seq, before)
	}
	r.stored[seq], r.newest[p.from] = p, seq
	s := r.sights[p.from]
	s.read = max(s.read, seq)
	return r.hold(p.from, seq, p)
}

// hold notes that a member has a post. The caller holds mu.
func (r *room) hold(user string, seq uint64, p post) error {
	s := r.sights[user]
	if other, ok := s.held[seq]; ok && other != p {
		return r.errorf("%s has %v as seq %d, and also %v", user, other, seq, p)
	}
	s.held[seq] = p
	return nil
}

// pushed notes that a member was pushed a post. During a login older ones may be left
// out, which synced tells of.
func (r *room) pushed(user string, seq uint64, p post, login bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.sights[user]
	if !login {
		if seq <= s.last {
			return r.errorf("%s was pushed seq %d, %v, after seq %d", user, seq, p, s.last)
		}
		r.pass(s, s.last, seq)
	}
	s.last = max(s.last, seq)
	return r.hold(user, seq, p)
}

// pass notes what a push left out between two seqs. The caller holds mu.
func (r *room) pass(s *sight, after, before uint64) {
	for seq := after + 1; seq < before; seq++ {
		if _, ok := s.held[seq]; !ok {
			s.passed[seq] = true
		}
	}
}

// synced notes that a login of a member told of what there is up to a seq, and
// returns what the member does not have of that. All that is newer is pushed.
func (r *room) synced(user string, to uint64) (missing []uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.sights[user]
	for seq := uint64(1); seq <= to; seq++ {
		if _, ok := s.held[seq]; !ok {
			missing = append(missing, seq)
		}
	}
	if s.last > to {
		r.pass(s, to, s.last)
	}
	s.last = max(s.last, to)
	return missing
}

// fetched notes that a member read a post in history.
func (r *room) fetched(user string, seq uint64, p post) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.hold(user, seq, p)
}

// reported notes that a member has read up to a seq.
func (r *room) reported(user string, seq uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sights[user].read = max(r.sights[user].read, seq)
}

// whole returns the seq up to which a member has all posts.
func (r *room) whole(user string) (seq uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for s := r.sights[user]; ; seq++ {
		if _, ok := s.held[seq+1]; !ok {
			return seq
		}
	}
}

// unmet describes what a member waits for, once nobody writes any more; "" if
// nothing.
func (r *room) unmet() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, user := range r.members {
		for seq, p := range r.stored {
			if _, ok := r.sights[user].held[seq]; !ok {
				return r.errorf("%s was not pushed seq %d, %v", user, seq, p).Error()
			}
		}
	}
	return ""
}

// check returns an error unless all that members have is what was acknowledged, with
// the same seqs for all. It holds once nobody writes any more.
func (r *room) check() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for seq := uint64(1); seq <= uint64(len(r.stored)); seq++ {
		if _, ok := r.stored[seq]; !ok {
			return r.errorf("%d posts were acknowledged, and none as seq %d", len(r.stored), seq)
		}
	}
	for _, user := range r.members {
		s := r.sights[user]
		for seq, p := range s.held {
			if want, ok := r.stored[seq]; want != p {
				return r.errorf("%s has %v as seq %d, which is %v (acknowledged: %v)", user, p, seq, want, ok)
			}
		}
		for seq := range s.passed {
			if p := r.stored[seq]; p.from != user {
				return r.errorf("%s was not pushed seq %d, %v, before a later one", user, seq, p)
			}
		}
	}
	return nil
}

// checkHistory returns an error unless a history is all that was acknowledged.
func (r *room) checkHistory(history []client.Message) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range history {
		m := &history[i]
		p, err := postOf(m)
		if err != nil {
			return r.errorf("history: %w", err)
		}
		if m.Seq != uint64(i+1) {
			return r.errorf("history: seq %d comes where %d was to be", m.Seq, i+1)
		}
		if p != r.stored[m.Seq] {
			return r.errorf("history: seq %d is %v, want %v", m.Seq, p, r.stored[m.Seq])
		}
	}
	if len(history) != len(r.stored) {
		return r.errorf("history has %d posts, want %d", len(history), len(r.stored))
	}
	return nil
}

// checkEntry returns an error unless a member is told of the room what follows from
// what was written and read.
func (r *room) checkEntry(user string, e client.Conversation) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	read, unread := r.sights[user].read, 0
	for seq, p := range r.stored {
		if seq > read && p.from != user {
			unread++
		}
	}
	if newest := uint64(len(r.stored)); e.LastSeq != newest || e.ReadSeq != read || e.Unread != unread {
		return r.errorf("%s is told of %d unread of %d, read up to %d; want %d of %d, up to %d",
			user, e.Unread, e.LastSeq, e.ReadSeq, unread, newest, read)
	}
	return nil
}

// postOf returns which post a message is.
func postOf(m *client.Message) (post, error) {
	var body struct {
		N int `json:"n"`
	}
	err := m.DecodeBody(&body)
	return post{m.From, body.N}, err
}
