package gateway

import (
	"slices"

	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/shard/command"
)

// A groupChange is a request that changes a group. The shard of the group does not know
// sessions, so the session keeps the answer for repeats.
type groupChange struct {
	session      *session
	request      request
	identity     command.Request   // zero for a notice
	reservations []joinReservation // that are kept until the answer
}

// A groupAnswer is the answer to a change.
type groupAnswer struct {
	identity command.Request
	ok       protocol.OK
}

// beginGroupChange begins a change. cmd is what the request says, before anything is added
// to it. If the request is a repeat, it is answered and again is true.
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

// propose submits the command of the change. ok returns the answer; nil is for an answer
// that says nothing.
func (c groupChange) propose(cmd command.GroupCommand, ok func(command.Result) protocol.OK) {
	c.session.proposeUntil(c.request, cmd, func(result command.Result) {
		if ok == nil {
			c.answer(nil)
		} else {
			c.answer(ok(result))
		}
	}, func() { c.session.gateway.reservations.remove(c.reservations) })
}

// answer replies to the change, and keeps the answer for repeats.
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

// proposeChange begins and proposes a change whose command is complete and whose answer
// says nothing.
func (s *session) proposeChange(r request, cmd command.GroupCommand) {
	if c, again := s.beginGroupChange(r, cmd); !again {
		c.propose(cmd, nil)
	}
}
