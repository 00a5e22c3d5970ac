//go:build linux

package main

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// What must and what may be seen of a crowd follows from a counter that stamps
// the begin and the end of every request: a message whose send began after the
// reply to a join, and was answered before the leaving began, must arrive; one
// that was answered before the join began, or whose send began after the leaving
// ended, must not. All times here are that counter's; 0 is not yet. The crowd's
// mutex guards all of it.

// A crowdGroup is one group of a crowd.
type crowdGroup struct {
	id       string
	kind     string // of its present life
	remade   bool   // it is dismissed and made again
	sends    []*sent
	byCID    map[string]*sent
	bySeq    map[uint64]*sent
	newest   uint64 // the highest of them
	removals []*removal
	mutes    map[string][]*span       // user → when they were muted
	members  map[string][]*membership // user → their memberships, oldest first
	reads    map[string]uint64        // user → highest seq that they reported or sent
}

func newCrowdGroup(id, kind string) *crowdGroup {
	return &crowdGroup{
		id: id, kind: kind, byCID: map[string]*sent{}, bySeq: map[uint64]*sent{},
		mutes: map[string][]*span{}, members: map[string][]*membership{}, reads: map[string]uint64{},
	}
}

// counts reports whether the group's members have a number of unread messages.
func (g *crowdGroup) counts() bool { return g.kind != protocol.KindChatroom }

// A sent is a message, from its first attempt on.
type sent struct {
	from, cid       string
	body            []byte
	begun, answered int64
	refused         bool // it was refused, and is stored nowhere
	seq             uint64
	id              protocol.ID
	time            int64
}

func (s *sent) String() string { return fmt.Sprintf("seq %d (%s of %s)", s.seq, s.cid, s.from) }

// A span is a state that lasts for a while: surely from sure to ending, and
// possibly from begun to ended.
type span struct{ begun, sure, ending, ended int64 }

// A membership is one time that a user is in a group: begun and ended with their requests, sure
// and ending with the replies.
type membership struct {
	span
	// heard is set once the phone's session has been told of this membership:
	// from then on its cursors are no longer those of the membership before.
	heard bool
	// told is set once the phone has been told that the membership is over.
	told bool
	// unsure is set if a session ended and what it missed cannot be had any more.
	unsure bool
}

func (m *membership) must(s *sent) bool {
	return !m.unsure && m.sure != 0 && s.answered != 0 && s.begun > m.sure && (m.ending == 0 || s.answered < m.ending)
}

// may reports whether s can have been stored within the span.
func (m *span) may(s *sent) bool {
	return (s.answered == 0 || s.answered > m.begun) && (m.ended == 0 || s.begun < m.ended)
}

// A removal is a request that takes messages away: all of a sender up to its time,
// or one.
type removal struct {
	begun, ended int64
	sender       string
	seq          uint64
	only         string // the user who hides it from themselves; "" = from all
	silent       bool
	reason       string
}

func (t *removal) concerns(s *sent, user string) bool {
	return (t.only == "" || t.only == user) && (t.seq != 0 && t.seq == s.seq || t.seq == 0 && t.sender == s.from)
}

// gone returns whether s must be gone for a user, and the reasons why it may be;
// none if it cannot. told reports whether a user who had it must have been told.
func (g *crowdGroup) gone(s *sent, user string) (sure, told bool, reasons []string) {
	silent := false // a silent removal may leave nothing for a later one to tell
	for _, t := range g.removals {
		if !t.concerns(s, user) || t.ended != 0 && s.begun > t.ended {
			continue
		}
		reasons = append(reasons, t.reason)
		silent = silent || t.silent
		if t.ended != 0 && s.answered != 0 && s.answered < t.begun {
			sure, told = true, true
		}
	}
	return sure, told && !silent, reasons
}

// goneBefore reports whether s was gone for a user, beyond doubt, before a time.
func (g *crowdGroup) goneBefore(s *sent, user string, at int64) bool {
	return slices.ContainsFunc(g.removals, func(t *removal) bool {
		return t.concerns(s, user) && t.ended != 0 && t.ended < at && s.answered != 0 && s.answered < t.begun
	})
}

// present returns the membership that has not ended, nil if none.
func (g *crowdGroup) present(user string) *membership {
	if stays := g.members[user]; len(stays) > 0 && stays[len(stays)-1].ended == 0 {
		return stays[len(stays)-1]
	}
	return nil
}

// witness compares a message that somebody has seen with what was sent and with
// what others have seen of it.
func (g *crowdGroup) witness(m *protocol.Message) (*sent, error) {
	s := g.byCID[string(m.CID)]
	switch {
	case s == nil || s.from != m.From:
		return nil, violated("%s: seq %d is %q from %s, which nobody sent", g.id, m.Seq, m.CID, m.From)
	case s.refused:
		return nil, violated("%s: seq %d is %q from %s, which was refused", g.id, m.Seq, m.CID, m.From)
	case !bytes.Equal(s.body, m.Body):
		return nil, violated("%s: %v has body %x, was sent with %x", g.id, s, m.Body, s.body)
	}
	return s, g.place(s, m.Seq, m.ID, m.Time)
}

// place notes where s is stored, and returns a violation if it is known to be
// elsewhere.
func (g *crowdGroup) place(s *sent, seq uint64, id protocol.ID, time int64) error {
	if other := g.bySeq[seq]; other != nil && other != s {
		return violated("%s: seq %d is %v and %v", g.id, seq, s, other)
	}
	// What is sent once more in another life of the group is stored once more.
	if again := g.remade && g.bySeq[seq] == nil; s.seq == 0 || again {
		s.seq, s.id, s.time = seq, id, time
		g.bySeq[seq] = s
		g.newest = max(g.newest, seq)
	}
	if s.seq != seq && g.remade {
		return nil
	}
	if s.seq != seq || s.id != id || s.time != time {
		return violated("%s: %v has id %v and time %d, and also seq %d, id %v, time %d", g.id, s, s.id, s.time, seq, id, time)
	}
	return nil
}
