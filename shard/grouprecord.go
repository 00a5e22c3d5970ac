package shard

import (
	"math"
	"slices"
	"strings"
)

// Frames of a group's record, and of the list of groups of a user; see record.go.
// They come behind the first frame of a record, before its conversations:
//
//	teams    groups of a user, by name
//	group    what a group is, its events, recalls and requests to join
//	members  by name, with what they hid from themselves
//	notices  letters to users' shards, by name
//	sanctions who is muted or banned, or has left and had settings of his own, by name

// A teamWalk encodes what a record has of groups, frame by frame.
type teamWalk struct {
	part  int // that comes: 0 teams, 1 group, 2 members, 3 notices, 4 sanctions, teamParts = all is written
	next  int // item of it that comes
	names []UserID
}

const teamParts = 5

func (w *teamWalk) appendNext(s *State, u *user, b []byte, limit int) []byte {
	for ; w.part < teamParts; w.part, w.next = w.part+1, 0 {
		switch w.part {
		case 0:
			b = w.appendTeams(s, u, b, limit)
		case 1:
			if u.team != nil && w.next == 0 {
				w.next = 1
				w.names = u.team.noticeNames()
				b = u.team.append(append(b, frameGroup))
			}
		case 2:
			if u.team != nil {
				b = w.appendMembers(s, u.team, b, limit)
			}
		case 3:
			if u.team != nil {
				b = w.appendNotices(u.team, b, limit)
			}
		case 4:
			if u.team != nil {
				b = w.appendSanctions(s, u.team, b, limit)
			}
		}
		if len(b) > 0 {
			return b
		}
	}
	return b
}

func (w *teamWalk) appendTeams(s *State, u *user, b []byte, limit int) []byte {
	if w.next == len(u.teams.items) {
		return b
	}
	b = append(b, frameTeams)
	for ; w.next < len(u.teams.items) && len(b) < limit; w.next++ {
		ref := &u.teams.items[w.next]
		b = append(appendBytes(b, s.teamName(ref)), ref.flags)
		b = appendUint(appendUint(b, ref.version), ref.arrival)
	}
	return b
}

func (t *team) append(b []byte) []byte {
	b = appendBytes(b, t.id)
	b = append(b, byte(t.kind))
	b = appendSettings(b, t.settings)
	b = appendBytes(b, t.title)
	b = appendBlob(b, t.properties)
	b = appendBytes(b, t.owner)
	b = appendInt(appendInt(b, t.created), t.dismissed)
	b = appendUint(appendUint(b, t.salt), t.version)
	b = appendInt(b, t.rateFull)
	b = appendUint(appendUint(b, t.forgotten), t.recallsGone)
	b = appendUint(b, uint64(len(t.requests)))
	for _, q := range t.requests {
		b = appendInt(appendBytes(appendBytes(b, q.User), q.Message), q.Time)
	}
	b = appendUint(b, uint64(len(t.events)))
	for i := range t.events {
		e := &t.events[i]
		b = appendUsers(appendBytes(append(b, byte(e.Kind)), e.By), e.Users)
		b = appendUint(appendInt(b, e.Time), e.Arrival)
	}
	b = appendUint(b, uint64(len(t.recalls)))
	for i := range t.recalls {
		rc := &t.recalls[i]
		b = appendUint(appendUint(appendUint(b, rc.arrival), rc.from), rc.to)
		b = appendBytes(appendBytes(b, rc.by), rc.sender)
	}
	b = appendInt(appendBytes(b, t.offer.to), t.offer.at)
	return appendBytes(appendInt(appendUint(b, t.changed.arrival), t.changed.at), t.changed.by)
}

func (w *teamWalk) appendMembers(s *State, t *team, b []byte, limit int) []byte {
	if w.next == len(t.members.items) {
		return b
	}
	b = append(b, frameMembers)
	for ; w.next < len(t.members.items) && len(b) < limit; w.next++ {
		m := &t.members.items[w.next]
		name := s.memberName(m)
		b = append(appendBytes(b, name), byte(m.role), m.flags)
		b = appendInt(b, m.joined)
		for _, v := range m.numbers() {
			b = appendUint(b, *v)
		}
		hides := t.hides[UserID(name)]
		b = appendUint(b, uint64(len(hides)))
		for _, h := range hides {
			b = appendUint(appendUint(appendUint(b, h.seq), h.arrival), uint64(h.by))
		}
	}
	return b
}

func (m *member) numbers() [12]*uint64 {
	return [...]*uint64{
		&m.joinedAt, &m.from, &m.read, &m.readAt, (*uint64)(&m.readBy), &m.floor,
		&m.deletedAt, (*uint64)(&m.deletedBy), &m.wiped, &m.wipedAt, (*uint64)(&m.wipedBy), &m.setAt,
	}
}

func (w *teamWalk) appendNotices(t *team, b []byte, limit int) []byte {
	if w.next == len(w.names) {
		return b
	}
	b = append(b, frameNotices)
	for w.next < len(w.names) && len(b) < limit {
		b = appendBytes(b, t.notices[w.names[w.next]].bytes)
		w.next++
	}
	return b
}

func (w *teamWalk) appendSanctions(s *State, t *team, b []byte, limit int) []byte {
	if w.next == len(t.sanctions.items) {
		return b
	}
	b = append(b, frameSanctions)
	for ; w.next < len(t.sanctions.items) && len(b) < limit; w.next++ {
		x := &t.sanctions.items[w.next]
		b = appendInt(appendInt(appendBytes(b, s.sanctionName(x)), x.muted), x.banned)
		b = appendInt(append(b, x.wish), x.wished)
	}
	return b
}

func (l *loader) sanctions(d *decoder) {
	s, u := l.s, l.u
	t := u.team
	for len(d.b) > 0 {
		name := d.user()
		x := sanction{nameLen: uint8(len(name)), muted: d.int(), banned: d.int(), wish: d.byte(), wished: d.int()}
		n := len(t.sanctions.items)
		if d.err != nil || name == "" || n == maxSanctions+maxWishes || x.end() <= 0 ||
			x.wish&^(memberMuted|memberPinned) != 0 || x.wished < 0 || (x.wish != 0) != (x.wished != 0) ||
			n > 0 && string(s.sanctionName(&t.sanctions.items[n-1])) >= string(name) {
			d.fail(errMalformed)
			return
		}
		x.name = s.arena.Alloc(len(name))
		copy(s.arena.Bytes(x.name, len(name)), name)
		s.frees(u)
		t.sanctions.add(s.arena, x)
		t.sanctionsEnd = min(t.sanctionsEnd, x.end())
		if x.wished != 0 {
			t.wishes++
		}
	}
}

func (l *loader) teams(d *decoder) {
	s, u := l.s, l.u
	for len(d.b) > 0 {
		name := string(d.group())
		ref := teamRef{nameLen: uint8(len(name)), hash: teamHash(string(name)), flags: d.byte(), version: d.uint(), arrival: d.uint()}
		n := len(u.teams.items)
		if d.err != nil || name == "" || u.team != nil || ref.flags >= refDismissed<<1 || ref.arrival > u.arrival ||
			n > 0 && string(s.teamName(&u.teams.items[n-1])) >= name {
			d.fail(errMalformed)
			return
		}
		ref.name = s.arena.Alloc(len(name))
		copy(s.arena.Bytes(ref.name, len(name)), name)
		s.frees(u)
		u.teams.add(s.arena, ref)
		u.teamsAt = max(u.teamsAt, ref.arrival)
	}
}

// few is count for a list that is never longer than most.
func (d *decoder) few(size, most int) int {
	n := d.count(size)
	if n > most {
		d.fail(errMalformed)
		return 0
	}
	return n
}

func (l *loader) group(d *decoder) {
	t := &team{
		id: d.group(), kind: d.groupKind(), settings: d.settings(), title: d.text(MaxGroupName),
		properties: slices.Clone(d.blob(MaxGroupProperties)), owner: d.user(), created: d.int(), dismissed: d.int(),
		salt: d.uint(), version: d.uint(), rateFull: d.int(), forgotten: d.uint(), recallsGone: d.uint(),
		sanctionsEnd: math.MaxInt64,
	}
	for range d.few(3, maxRequests) {
		t.requests = append(t.requests, JoinRequest{User: d.user(), Message: d.text(MaxJoinMessage), Time: d.int()})
	}
	last := uint64(0)
	ascends := func(arrival uint64) {
		if arrival <= last || arrival > l.u.arrival {
			d.fail(errMalformed)
		}
		last = arrival
	}
	for range d.few(5, keptEvents+keptEnds) {
		e := GroupEvent{
			Kind: GroupEventKind(d.byte()), Group: t.id, By: d.user(), Users: d.users(), Time: d.int(), Arrival: d.uint(),
		}
		ascends(e.Arrival)
		t.events = append(t.events, e)
	}
	last = 0
	for range d.few(5, keptRecalls) {
		rc := teamRecall{arrival: d.uint(), from: d.uint(), to: d.uint(), by: d.user(), sender: d.user()}
		ascends(rc.arrival)
		t.recalls = append(t.recalls, rc)
	}
	t.offer = ownerOffer{to: d.user(), at: d.int()}
	t.changed = teamChange{arrival: d.uint(), at: d.int(), by: d.user()}
	if d.err != nil || t.id == "" || t.id.Key() != l.u.name || t.changed.arrival > l.u.arrival || l.u.team != nil {
		d.fail(errMalformed)
		return
	}
	l.u.team = t // weighed when all of it was read
}

func (l *loader) members(d *decoder) {
	s, u := l.s, l.u
	t := u.team
	for len(d.b) > 0 {
		name := d.user()
		m := member{role: Role(d.byte()), flags: d.byte(), joined: d.int()}
		for _, v := range m.numbers() {
			*v = d.uint()
		}
		var hides []mark
		for range d.few(3, maxHides) {
			hides = append(hides, mark{seq: d.uint(), arrival: d.uint(), by: SessionID(d.uint()), reason: gapDeleted})
		}
		n := len(t.members.items)
		if d.err != nil || name == "" || m.role < RoleMember || m.role > RoleOwner || m.from == 0 || m.from > math.MaxInt64 ||
			n > 0 && strings.Compare(string(s.memberName(&t.members.items[n-1])), string(name)) >= 0 ||
			!slices.IsSortedFunc(hides, func(a, b mark) int { return int(a.seq) - int(b.seq) }) {
			d.fail(errMalformed)
			return
		}
		s.addMember(u, name, m)
		if len(hides) > 0 {
			t.setHides(UserID(name), hides)
		}
	}
}

func (l *loader) notices(d *decoder) {
	t := l.u.team
	for len(d.b) > 0 {
		b := slices.Clone(d.bytes())
		letter, err := DecodeLetter(b)
		if err != nil || letter.From != l.u.name || letter.Kind < LetterJoined {
			d.fail(errMalformed)
			return
		}
		if _, twice := t.notices[letter.To]; twice {
			d.fail(errMalformed)
			return
		}
		if t.notices == nil {
			t.notices = make(map[UserID]notice)
		}
		t.notices[letter.To] = notice{version: letter.Number, bytes: b}
		l.s.letterBytes += len(b)
	}
}
