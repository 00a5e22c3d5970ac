package shard

import (
	"math"
	"slices"
	"strings"

	"github.com/belfry-im/belfry/shard/codec"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// These frames hold the memberships of a user or the record of a group. They come after
// the first frame of the user or group, before the conversations; see record.go:
//
//	memberships    groups of a user, by name
//	group          settings, events, recalls and requests to join
//	members        by name, with the messages that they hid from their views
//	group letters  letters that wait for users' shards, by name
//	sanctions      mutes, bans, and settings kept of former members, by name

// A groupEncoder encodes the frames of a user's memberships or a group's record, one by
// one.
type groupEncoder struct {
	section int              // section of the next frame: 0 memberships, 1 group, 2 members, 3 letters, 4 sanctions; groupSections = done
	next    int              // index of the section's next item
	names   []command.UserID // receivers of the group's waiting letters
}

const groupSections = 5

// appendNext appends the next frame to x, or nothing if all are written. A list goes on
// in another frame once the frame is longer than limit.
func (enc *groupEncoder) appendNext(s *State, u *user, x *codec.Coder, limit int) {
	for ; enc.section < groupSections; enc.section, enc.next = enc.section+1, 0 {
		switch enc.section {
		case 0:
			enc.appendMemberships(s, u, x, limit)
		case 1:
			if u.group != nil && enc.next == 0 {
				enc.next = 1
				enc.names = u.group.letterNames()
				x.B = append(x.B, frameGroup)
				u.group.fields(x)
			}
		case 2:
			if u.group != nil {
				enc.appendMembers(s, u.group, x, limit)
			}
		case 3:
			if u.group != nil {
				enc.appendLetters(u.group, x, limit)
			}
		case 4:
			if u.group != nil {
				enc.appendSanctions(s, u.group, x, limit)
			}
		}
		if len(x.B) > 0 {
			return
		}
	}
}

func (enc *groupEncoder) appendMemberships(s *State, u *user, x *codec.Coder, limit int) {
	if enc.next == len(u.memberships.items) {
		return
	}
	x.B = append(x.B, frameMemberships)
	for ; enc.next < len(u.memberships.items) && len(x.B) < limit; enc.next++ {
		ms := &u.memberships.items[enc.next]
		x.B = codec.AppendBytes(x.B, s.membershipName(ms))
		ms.fields(x)
	}
}

func (ms *membership) fields(x *codec.Coder) {
	codec.Byte(x, &ms.flags)
	codec.Uint(x, &ms.version)
	codec.Uint(x, &ms.arrival)
}

func (g *groupRecord) fields(x *codec.Coder) {
	g.id.Fields(x)
	g.kind.Fields(x)
	g.settings.Fields(x)
	codec.Text(x, &g.title, command.MaxGroupName)
	codec.Blob(x, &g.properties, command.MaxGroupProperties)
	g.owner.Fields(x)
	codec.Int(x, &g.createdMS)
	codec.Int(x, &g.dismissedMS)
	codec.Uint(x, &g.salt)
	codec.Uint(x, &g.letterVersion)
	codec.Int(x, &g.rateFullUS)
	codec.Uint(x, &g.eventsForgotten)
	codec.Uint(x, &g.recallsForgotten)
	codec.List(x, &g.requests, 3, maxRequests, requestFields)
	codec.List(x, &g.events, 5, keptEvents+keptEndEvents, eventFields)
	codec.List(x, &g.recalls, 5, keptRecalls, (*groupRecall).fields)
	g.offer.to.Fields(x)
	codec.Int(x, &g.offer.at)
	codec.Uint(x, &g.lastChange.arrival)
	codec.Int(x, &g.lastChange.at)
	g.lastChange.by.Fields(x)
}

func requestFields(q *query.JoinRequest, x *codec.Coder) {
	q.User.Fields(x)
	codec.Text(x, &q.Message, command.MaxJoinMessage)
	codec.Int(x, &q.Time)
}

func eventFields(e *query.GroupEvent, x *codec.Coder) {
	codec.Byte(x, &e.Kind)
	e.By.Fields(x)
	command.Users(x, &e.Users)
	codec.Int(x, &e.Time)
	codec.Uint(x, &e.Arrival)
}

func (rc *groupRecall) fields(x *codec.Coder) {
	codec.Uint(x, &rc.arrival)
	codec.Uint(x, &rc.from)
	codec.Uint(x, &rc.to)
	rc.by.Fields(x)
	rc.sender.Fields(x)
}

func (enc *groupEncoder) appendMembers(s *State, g *groupRecord, x *codec.Coder, limit int) {
	if enc.next == len(g.members.items) {
		return
	}
	x.B = append(x.B, frameMembers)
	for ; enc.next < len(g.members.items) && len(x.B) < limit; enc.next++ {
		m := &g.members.items[enc.next]
		name := s.memberName(m)
		x.B = codec.AppendBytes(x.B, name)
		hidden := g.hidden[command.UserID(name)]
		m.fields(x, &hidden)
	}
}

func (m *member) fields(x *codec.Coder, hidden *[]tombstone) {
	codec.Byte(x, &m.role)
	codec.Byte(x, &m.flags)
	codec.Int(x, &m.joinedMS)
	for _, v := range m.numbers() {
		codec.Uint(x, v)
	}
	codec.List(x, hidden, 3, maxHidden, hiddenFields)
}

// hiddenFields writes or reads a message that a member has hidden.
func hiddenFields(t *tombstone, x *codec.Coder) {
	codec.Uint(x, &t.seq)
	codec.Uint(x, &t.arrival)
	codec.Uint(x, &t.by)
	if !x.Writing() {
		t.reason = gapDeleted
	}
}

func (m *member) numbers() [12]*uint64 {
	return [...]*uint64{
		&m.joinArrival, &m.visibleFrom, &m.read, &m.readArrival, (*uint64)(&m.readBy), &m.unlistedTo,
		&m.unlistedArrival, (*uint64)(&m.unlistedBy), &m.clearedTo, &m.clearedArrival, (*uint64)(&m.clearedBy), &m.settingsArrival,
	}
}

func (enc *groupEncoder) appendLetters(g *groupRecord, x *codec.Coder, limit int) {
	if enc.next == len(enc.names) {
		return
	}
	x.B = append(x.B, frameGroupLetters)
	for enc.next < len(enc.names) && len(x.B) < limit {
		x.B = codec.AppendBytes(x.B, g.letters[enc.names[enc.next]].bytes)
		enc.next++
	}
}

func (enc *groupEncoder) appendSanctions(s *State, g *groupRecord, x *codec.Coder, limit int) {
	if enc.next == len(g.sanctions.items) {
		return
	}
	x.B = append(x.B, frameSanctions)
	for ; enc.next < len(g.sanctions.items) && len(x.B) < limit; enc.next++ {
		sc := &g.sanctions.items[enc.next]
		x.B = codec.AppendBytes(x.B, s.sanctionName(sc))
		sc.fields(x)
	}
}

func (sc *sanction) fields(x *codec.Coder) {
	codec.Int(x, &sc.muted)
	codec.Int(x, &sc.banned)
	codec.Byte(x, &sc.settings)
	codec.Int(x, &sc.settingsUntil)
}

func (l *loader) sanctions(x *codec.Coder) {
	s, u := l.s, l.u
	g := u.group
	for len(x.B) > 0 {
		var name command.UserID
		name.Fields(x)
		sc := sanction{nameLen: uint8(len(name))}
		sc.fields(x)
		n := len(g.sanctions.items)
		if x.Err != nil || name == "" || n == maxSanctions+maxSavedSettings || sc.end() <= 0 ||
			sc.settings&^(memberMuted|memberPinned) != 0 || sc.settingsUntil < 0 || (sc.settings != 0) != (sc.settingsUntil != 0) ||
			n > 0 && string(s.sanctionName(&g.sanctions.items[n-1])) >= string(name) {
			x.Fail(codec.ErrMalformed)
			return
		}
		sc.name = s.arena.Alloc(len(name))
		copy(s.arena.Bytes(sc.name, len(name)), name)
		s.holdFor(u)
		g.sanctions.add(s.arena, sc)
		g.sanctionsEnd = min(g.sanctionsEnd, sc.end())
		if sc.settingsUntil != 0 {
			g.savedSettings++
		}
	}
}

func (l *loader) memberships(x *codec.Coder) {
	s, u := l.s, l.u
	for len(x.B) > 0 {
		var name command.GroupID
		name.Fields(x)
		ms := membership{nameLen: uint8(len(name)), hash: groupHash(string(name))}
		ms.fields(x)
		n := len(u.memberships.items)
		if x.Err != nil || name == "" || u.group != nil || ms.flags >= membershipDismissed<<1 || ms.arrival > u.arrival ||
			n > 0 && string(s.membershipName(&u.memberships.items[n-1])) >= string(name) {
			x.Fail(codec.ErrMalformed)
			return
		}
		ms.name = s.arena.Alloc(len(name))
		copy(s.arena.Bytes(ms.name, len(name)), name)
		s.holdFor(u)
		u.memberships.add(s.arena, ms)
		u.membershipsArrival = max(u.membershipsArrival, ms.arrival)
	}
}

func (l *loader) group(x *codec.Coder) {
	g := &groupRecord{sanctionsEnd: math.MaxInt64}
	g.fields(x)
	g.properties = slices.Clone(g.properties)
	last := uint64(0)
	ascends := func(arrival uint64) {
		if arrival <= last || arrival > l.u.arrival {
			x.Fail(codec.ErrMalformed)
		}
		last = arrival
	}
	for i := range g.events {
		g.events[i].Group = g.id
		ascends(g.events[i].Arrival)
	}
	last = 0
	for _, rc := range g.recalls {
		ascends(rc.arrival)
	}
	if x.Err != nil || g.id == "" || g.id.Key() != l.u.name || g.lastChange.arrival > l.u.arrival || l.u.group != nil {
		x.Fail(codec.ErrMalformed)
		return
	}
	l.u.group = g // finish counts its heap bytes, once all frames are read
}

func (l *loader) members(x *codec.Coder) {
	s, u := l.s, l.u
	g := u.group
	for len(x.B) > 0 {
		var name command.UserID
		name.Fields(x)
		var m member
		var hidden []tombstone
		m.fields(x, &hidden)
		n := len(g.members.items)
		if x.Err != nil || name == "" || m.role < command.RoleMember || m.role > command.RoleOwner || m.visibleFrom == 0 || m.visibleFrom > math.MaxInt64 ||
			n > 0 && strings.Compare(string(s.memberName(&g.members.items[n-1])), string(name)) >= 0 ||
			!slices.IsSortedFunc(hidden, func(a, b tombstone) int { return int(a.seq) - int(b.seq) }) {
			x.Fail(codec.ErrMalformed)
			return
		}
		s.addMember(u, name, m)
		if len(hidden) > 0 {
			g.setHidden(name, hidden)
		}
	}
}

func (l *loader) groupLetters(x *codec.Coder) {
	g := l.u.group
	for len(x.B) > 0 {
		b := slices.Clone(x.Decoder.Bytes())
		letter, err := command.DecodeLetter(b)
		if err != nil || letter.From != l.u.name || letter.Kind < command.LetterJoined {
			x.Fail(codec.ErrMalformed)
			return
		}
		if _, twice := g.letters[letter.To]; twice {
			x.Fail(codec.ErrMalformed)
			return
		}
		if g.letters == nil {
			g.letters = make(map[command.UserID]groupLetter)
		}
		g.letters[letter.To] = groupLetter{version: letter.Number, bytes: b}
		l.s.letterBytes += len(b)
	}
}
