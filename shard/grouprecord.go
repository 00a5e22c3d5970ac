package shard

import (
	"math"
	"slices"
	"strings"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// Frames of the memberships of a user and of a group's record; see record.go. They
// come after the first frame of a user, before the conversations:
//
//	memberships    groups of a user, by name
//	group          settings, events, recalls and requests to join
//	members        by name, with what they hid from themselves
//	group letters  letters that wait for users' shards, by name
//	sanctions      mutes, bans and settings of former members, by name

// A groupEncoder encodes memberships and the group record of a user, frame by frame.
type groupEncoder struct {
	section int              // next one: 0 memberships, 1 group, 2 members, 3 letters, 4 sanctions; groupSections = done
	next    int              // index of its next item
	names   []command.UserID // receivers of letters
}

const groupSections = 5

func (enc *groupEncoder) appendNext(s *State, u *user, b []byte, limit int) []byte {
	for ; enc.section < groupSections; enc.section, enc.next = enc.section+1, 0 {
		switch enc.section {
		case 0:
			b = enc.appendMemberships(s, u, b, limit)
		case 1:
			if u.group != nil && enc.next == 0 {
				enc.next = 1
				enc.names = u.group.letterNames()
				b = u.group.append(append(b, frameGroup))
			}
		case 2:
			if u.group != nil {
				b = enc.appendMembers(s, u.group, b, limit)
			}
		case 3:
			if u.group != nil {
				b = enc.appendLetters(u.group, b, limit)
			}
		case 4:
			if u.group != nil {
				b = enc.appendSanctions(s, u.group, b, limit)
			}
		}
		if len(b) > 0 {
			return b
		}
	}
	return b
}

func (enc *groupEncoder) appendMemberships(s *State, u *user, b []byte, limit int) []byte {
	if enc.next == len(u.memberships.items) {
		return b
	}
	b = append(b, frameMemberships)
	for ; enc.next < len(u.memberships.items) && len(b) < limit; enc.next++ {
		ms := &u.memberships.items[enc.next]
		b = append(command.AppendBytes(b, s.membershipName(ms)), ms.flags)
		b = command.AppendUint(command.AppendUint(b, ms.version), ms.arrival)
	}
	return b
}

func (g *groupRecord) append(b []byte) []byte {
	b = command.AppendBytes(b, g.id)
	b = append(b, byte(g.kind))
	b = command.AppendSettings(b, g.settings)
	b = command.AppendBytes(b, g.title)
	b = command.AppendBlob(b, g.properties)
	b = command.AppendBytes(b, g.owner)
	b = command.AppendInt(command.AppendInt(b, g.createdMS), g.dismissedMS)
	b = command.AppendUint(command.AppendUint(b, g.salt), g.letterVersion)
	b = command.AppendInt(b, g.rateFullUS)
	b = command.AppendUint(command.AppendUint(b, g.eventsForgotten), g.recallsForgotten)
	b = command.AppendUint(b, uint64(len(g.requests)))
	for _, q := range g.requests {
		b = command.AppendInt(command.AppendBytes(command.AppendBytes(b, q.User), q.Message), q.Time)
	}
	b = command.AppendUint(b, uint64(len(g.events)))
	for i := range g.events {
		e := &g.events[i]
		b = command.AppendUsers(command.AppendBytes(append(b, byte(e.Kind)), e.By), e.Users)
		b = command.AppendUint(command.AppendInt(b, e.Time), e.Arrival)
	}
	b = command.AppendUint(b, uint64(len(g.recalls)))
	for i := range g.recalls {
		rc := &g.recalls[i]
		b = command.AppendUint(command.AppendUint(command.AppendUint(b, rc.arrival), rc.from), rc.to)
		b = command.AppendBytes(command.AppendBytes(b, rc.by), rc.sender)
	}
	b = command.AppendInt(command.AppendBytes(b, g.offer.to), g.offer.at)
	return command.AppendBytes(command.AppendInt(command.AppendUint(b, g.lastChange.arrival), g.lastChange.at), g.lastChange.by)
}

func (enc *groupEncoder) appendMembers(s *State, g *groupRecord, b []byte, limit int) []byte {
	if enc.next == len(g.members.items) {
		return b
	}
	b = append(b, frameMembers)
	for ; enc.next < len(g.members.items) && len(b) < limit; enc.next++ {
		m := &g.members.items[enc.next]
		name := s.memberName(m)
		b = append(command.AppendBytes(b, name), byte(m.role), m.flags)
		b = command.AppendInt(b, m.joinedMS)
		for _, v := range m.numbers() {
			b = command.AppendUint(b, *v)
		}
		hidden := g.hidden[command.UserID(name)]
		b = command.AppendUint(b, uint64(len(hidden)))
		for _, h := range hidden {
			b = command.AppendUint(command.AppendUint(command.AppendUint(b, h.seq), h.arrival), uint64(h.by))
		}
	}
	return b
}

func (m *member) numbers() [12]*uint64 {
	return [...]*uint64{
		&m.joinArrival, &m.visibleFrom, &m.read, &m.readArrival, (*uint64)(&m.readBy), &m.unlistedTo,
		&m.unlistedArrival, (*uint64)(&m.unlistedBy), &m.clearedTo, &m.clearedArrival, (*uint64)(&m.clearedBy), &m.settingsArrival,
	}
}

func (enc *groupEncoder) appendLetters(g *groupRecord, b []byte, limit int) []byte {
	if enc.next == len(enc.names) {
		return b
	}
	b = append(b, frameGroupLetters)
	for enc.next < len(enc.names) && len(b) < limit {
		b = command.AppendBytes(b, g.letters[enc.names[enc.next]].bytes)
		enc.next++
	}
	return b
}

func (enc *groupEncoder) appendSanctions(s *State, g *groupRecord, b []byte, limit int) []byte {
	if enc.next == len(g.sanctions.items) {
		return b
	}
	b = append(b, frameSanctions)
	for ; enc.next < len(g.sanctions.items) && len(b) < limit; enc.next++ {
		x := &g.sanctions.items[enc.next]
		b = command.AppendInt(command.AppendInt(command.AppendBytes(b, s.sanctionName(x)), x.muted), x.banned)
		b = command.AppendInt(append(b, x.settings), x.settingsUntil)
	}
	return b
}

func (l *loader) sanctions(d *command.Decoder) {
	s, u := l.s, l.u
	g := u.group
	for len(d.B) > 0 {
		name := d.User()
		x := sanction{nameLen: uint8(len(name)), muted: d.Int(), banned: d.Int(), settings: d.Byte(), settingsUntil: d.Int()}
		n := len(g.sanctions.items)
		if d.Err != nil || name == "" || n == maxSanctions+maxSavedSettings || x.end() <= 0 ||
			x.settings&^(memberMuted|memberPinned) != 0 || x.settingsUntil < 0 || (x.settings != 0) != (x.settingsUntil != 0) ||
			n > 0 && string(s.sanctionName(&g.sanctions.items[n-1])) >= string(name) {
			d.Fail(command.ErrMalformed)
			return
		}
		x.name = s.arena.Alloc(len(name))
		copy(s.arena.Bytes(x.name, len(name)), name)
		s.holdFor(u)
		g.sanctions.add(s.arena, x)
		g.sanctionsEnd = min(g.sanctionsEnd, x.end())
		if x.settingsUntil != 0 {
			g.savedSettings++
		}
	}
}

func (l *loader) memberships(d *command.Decoder) {
	s, u := l.s, l.u
	for len(d.B) > 0 {
		name := string(d.Group())
		ms := membership{nameLen: uint8(len(name)), hash: groupHash(string(name)), flags: d.Byte(), version: d.Uint(), arrival: d.Uint()}
		n := len(u.memberships.items)
		if d.Err != nil || name == "" || u.group != nil || ms.flags >= membershipDismissed<<1 || ms.arrival > u.arrival ||
			n > 0 && string(s.membershipName(&u.memberships.items[n-1])) >= name {
			d.Fail(command.ErrMalformed)
			return
		}
		ms.name = s.arena.Alloc(len(name))
		copy(s.arena.Bytes(ms.name, len(name)), name)
		s.holdFor(u)
		u.memberships.add(s.arena, ms)
		u.membershipsArrival = max(u.membershipsArrival, ms.arrival)
	}
}

func (l *loader) group(d *command.Decoder) {
	g := &groupRecord{
		id: d.Group(), kind: d.GroupKind(), settings: d.Settings(), title: d.Text(command.MaxGroupName),
		properties: slices.Clone(d.Blob(command.MaxGroupProperties)), owner: d.User(), createdMS: d.Int(), dismissedMS: d.Int(),
		salt: d.Uint(), letterVersion: d.Uint(), rateFullUS: d.Int(), eventsForgotten: d.Uint(), recallsForgotten: d.Uint(),
		sanctionsEnd: math.MaxInt64,
	}
	for range d.CountAtMost(3, maxRequests) {
		g.requests = append(g.requests, query.JoinRequest{User: d.User(), Message: d.Text(command.MaxJoinMessage), Time: d.Int()})
	}
	last := uint64(0)
	ascends := func(arrival uint64) {
		if arrival <= last || arrival > l.u.arrival {
			d.Fail(command.ErrMalformed)
		}
		last = arrival
	}
	for range d.CountAtMost(5, keptEvents+keptEndEvents) {
		e := query.GroupEvent{
			Kind: query.GroupEventKind(d.Byte()), Group: g.id, By: d.User(), Users: d.Users(), Time: d.Int(), Arrival: d.Uint(),
		}
		ascends(e.Arrival)
		g.events = append(g.events, e)
	}
	last = 0
	for range d.CountAtMost(5, keptRecalls) {
		rc := groupRecall{arrival: d.Uint(), from: d.Uint(), to: d.Uint(), by: d.User(), sender: d.User()}
		ascends(rc.arrival)
		g.recalls = append(g.recalls, rc)
	}
	g.offer = ownerOffer{to: d.User(), at: d.Int()}
	g.lastChange = groupEdit{arrival: d.Uint(), at: d.Int(), by: d.User()}
	if d.Err != nil || g.id == "" || g.id.Key() != l.u.name || g.lastChange.arrival > l.u.arrival || l.u.group != nil {
		d.Fail(command.ErrMalformed)
		return
	}
	l.u.group = g // countHeapBytes follows when all of it is read
}

func (l *loader) members(d *command.Decoder) {
	s, u := l.s, l.u
	g := u.group
	for len(d.B) > 0 {
		name := d.User()
		m := member{role: command.Role(d.Byte()), flags: d.Byte(), joinedMS: d.Int()}
		for _, v := range m.numbers() {
			*v = d.Uint()
		}
		var hidden []tombstone
		for range d.CountAtMost(3, maxHidden) {
			hidden = append(hidden, tombstone{seq: d.Uint(), arrival: d.Uint(), by: command.SessionID(d.Uint()), reason: gapDeleted})
		}
		n := len(g.members.items)
		if d.Err != nil || name == "" || m.role < command.RoleMember || m.role > command.RoleOwner || m.visibleFrom == 0 || m.visibleFrom > math.MaxInt64 ||
			n > 0 && strings.Compare(string(s.memberName(&g.members.items[n-1])), string(name)) >= 0 ||
			!slices.IsSortedFunc(hidden, func(a, b tombstone) int { return int(a.seq) - int(b.seq) }) {
			d.Fail(command.ErrMalformed)
			return
		}
		s.addMember(u, name, m)
		if len(hidden) > 0 {
			g.setHidden(command.UserID(name), hidden)
		}
	}
}

func (l *loader) groupLetters(d *command.Decoder) {
	g := l.u.group
	for len(d.B) > 0 {
		b := slices.Clone(d.Bytes())
		letter, err := command.DecodeLetter(b)
		if err != nil || letter.From != l.u.name || letter.Kind < command.LetterJoined {
			d.Fail(command.ErrMalformed)
			return
		}
		if _, twice := g.letters[letter.To]; twice {
			d.Fail(command.ErrMalformed)
			return
		}
		if g.letters == nil {
			g.letters = make(map[command.UserID]groupLetter)
		}
		g.letters[letter.To] = groupLetter{version: letter.Number, bytes: b}
		l.s.letterBytes += len(b)
	}
}
