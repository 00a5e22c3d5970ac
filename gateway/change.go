package gateway

import (
	"slices"

	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
)

// A groupChange is a request that changes a group. The group's shard does not know
// sessions, so the session keeps the answer in case the request is repeated.
type groupChange struct {
	session      *session
	request      request
	identity     command.Request     // zero for a notice
	reservations []store.Reservation // kept until the request is answered
}

// A groupAnswer is the answer to a group change, kept for repeats. ok is nil if the answer
// has no content.
type groupAnswer struct {
	identity command.Request
	ok       protocol.OK
}

// beginGroupChange begins a change. It reports again as true if the request is a repeat,
// and has then sent the answer. cmd must hold what the request says and nothing else: it
// identifies repeats.
func (s *session) beginGroupChange(r request, cmd command.GroupCommand) (c groupChange, again bool) {
	c = groupChange{session: s, request: r, identity: s.identity(r, cmd)}
	if c.identity.ID == 0 {
		return c, false
	}
	s.mu.Lock()
	i := slices.IndexFunc(s.answers, func(a groupAnswer) bool { return a.identity == c.identity })
	var ok protocol.OK
	if i >= 0 {
		ok = s.answers[i].ok
	}
	s.mu.Unlock()
	if i < 0 {
		return c, false
	}
	s.reply(r, ok)
	return c, true
}

// propose submits the command of the change. ok turns the result into the answer; a nil ok
// stands for an answer without content.
func (c groupChange) propose(cmd command.GroupCommand, ok func(command.Result) protocol.OK) {
	c.session.proposeUntil(c.request, cmd, func(result command.Result) {
		if ok == nil {
			c.answer(nil)
		} else {
			c.answer(ok(result))
		}
	}, c.release)
}

// answer replies to the request, and keeps the answer for repeats.
func (c groupChange) answer(ok protocol.OK) {
	s := c.session
	if c.identity.ID != 0 {
		s.mu.Lock()
		if len(s.answers) == keptRequests {
			s.answers = slices.Delete(s.answers, 0, 1)
		}
		s.answers = append(s.answers, groupAnswer{c.identity, ok})
		s.mu.Unlock()
	}
	s.reply(c.request, ok)
}

// proposeChange begins and proposes a change whose answer has no content.
func (s *session) proposeChange(r request, cmd command.GroupCommand) {
	if c, again := s.beginGroupChange(r, cmd); !again {
		c.propose(cmd, nil)
	}
}
