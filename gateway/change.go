package gateway

import (
	"slices"

	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/shard/command"
)

// A groupChange is a changing request on a group. The shard of the group does not
// know sessions, so it is the session that gives a repeat its first answer.
type groupChange struct {
	session      *session
	request      request
	identity     command.Request   // zero for a notice
	reservations []joinReservation // that are counted until the answer
}

// A groupAnswer is what a change was answered with.
type groupAnswer struct {
	identity command.Request
	ok       protocol.OK
}

// beginGroupChange begins a change, of what cmd says before anything is looked up for it.
// A repeat is answered, and again is true.
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

// propose submits what the change became. ok gives the answer, and is nil where
// there is nothing to say.
func (c groupChange) propose(cmd command.GroupCommand, ok func(command.Result) protocol.OK) {
	c.session.proposeUntil(c.request, cmd, func(result command.Result) {
		if ok == nil {
			c.answer(nil)
		} else {
			c.answer(ok(result))
		}
	}, func() { c.session.gateway.reservations.remove(c.reservations) })
}

// answer answers the change, and its repeats.
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

// proposeChange is for changes of which there is nothing to look up and nothing
// to say.
func (s *session) proposeChange(r request, cmd command.GroupCommand) {
	if c, again := s.beginGroupChange(r, cmd); !again {
		c.propose(cmd, nil)
	}
}
