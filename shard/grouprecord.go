package shard

import (
	"math"
	"slices"
	"strings"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
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
	names []command.UserID
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
		b = append(command.AppendBytes(b, s.teamName(ref)), ref.flags)
		b = command.AppendUint(command.AppendUint(b, ref.version), ref.arrival)
	}
	return b
}

func (t *team) append(b []byte) []byte {
	b = command.AppendBytes(b, t.id)
	b = append(b, byte(t.kind))
	b = command.AppendSettings(b, t.settings)
	b = command.AppendBytes(b, t.title)
	b = command.AppendBlob(b, t.properties)
	b = command.AppendBytes(b, t.owner)
	b = command.AppendInt(command.AppendInt(b, t.created), t.dismissed)
	b = command.AppendUint(command.AppendUint(b, t.salt), t.version)
	b = command.AppendInt(b, t.rateFull)
	b = command.AppendUint(command.AppendUint(b, t.forgotten), t.recallsGone)
	b = command.AppendUint(b, uint64(len(t.requests)))
	for _, q := range t.requests {
		b = command.AppendInt(command.AppendBytes(command.AppendBytes(b, q.User), q.Message), q.Time)
	}
	b = command.AppendUint(b, uint64(len(t.events)))
	for i := range t.events {
		e := &t.events[i]
		b = command.AppendUsers(command.AppendBytes(append(b, byte(e.Kind)), e.By), e.Users)
		b = command.AppendUint(command.AppendInt(b, e.Time), e.Arrival)
	}
	b = command.AppendUint(b, uint64(len(t.recalls)))
	for i := range t.recalls {
		rc := &t.recalls[i]
		b = command.AppendUint(command.AppendUint(command.AppendUint(b, rc.arrival), rc.from), rc.to)
		b = command.AppendBytes(command.AppendBytes(b, rc.by), rc.sender)
	}
	b = command.AppendInt(command.AppendBytes(b, t.offer.to), t.offer.at)
	return command.AppendBytes(command.AppendInt(command.AppendUint(b, t.changed.arrival), t.changed.at), t.changed.by)
}

func (w *teamWalk) appendMembers(s *State, t *team, b []byte, limit int) []byte {
	if w.next == len(t.members.items) {
		return b
	}
	b = append(b, frameMembers)
	for ; w.next < len(t.members.items) && len(b) < limit; w.next++ {
		m := &t.members.items[w.next]
		name := s.memberName(m)
		b = append(command.AppendBytes(b, name), byte(m.role), m.flags)
		b = command.AppendInt(b, m.joined)
		for _, v := range m.numbers() {
			b = command.AppendUint(b, *v)
		}
		hides := t.hides[command.UserID(name)]
		b = command.AppendUint(b, uint64(len(hides)))
		for _, h := range hides {
			b = command.AppendUint(command.AppendUint(command.AppendUint(b, h.seq), h.arrival), uint64(h.by))
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
		b = command.AppendBytes(b, t.notices[w.names[w.next]].bytes)
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
		b = command.AppendInt(command.AppendInt(command.AppendBytes(b, s.sanctionName(x)), x.muted), x.banned)
		b = command.AppendInt(append(b, x.wish), x.wished)
	}
	return b
}

func (l *loader) sanctions(d *command.Decoder) {
	s, u := l.s, l.u
	t := u.team
	for len(d.B) > 0 {
		name := d.User()
		x := sanction{nameLen: uint8(len(name)), muted: d.Int(), banned: d.Int(), wish: d.Byte(), wished: d.Int()}
		n := len(t.sanctions.items)
		if d.Err != nil || name == "" || n == maxSanctions+maxWishes || x.end() <= 0 ||
			x.wish&^(memberMuted|memberPinned) != 0 || x.wished < 0 || (x.wish != 0) != (x.wished != 0) ||
			n > 0 && string(s.sanctionName(&t.sanctions.items[n-1])) >= string(name) {
			d.Fail(command.ErrMalformed)
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

func (l *loader) teams(d *command.Decoder) {
	s, u := l.s, l.u
	for len(d.B) > 0 {
		name := string(d.Group())
		ref := teamRef{nameLen: uint8(len(name)), hash: teamHash(string(name)), flags: d.Byte(), version: d.Uint(), arrival: d.Uint()}
		n := len(u.teams.items)
		if d.Err != nil || name == "" || u.team != nil || ref.flags >= refDismissed<<1 || ref.arrival > u.arrival ||
			n > 0 && string(s.teamName(&u.teams.items[n-1])) >= name {
			d.Fail(command.ErrMalformed)
			return
		}
		ref.name = s.arena.Alloc(len(name))
		copy(s.arena.Bytes(ref.name, len(name)), name)
		s.frees(u)
		u.teams.add(s.arena, ref)
		u.teamsAt = max(u.teamsAt, ref.arrival)
	}
}

func (l *loader) group(d *command.Decoder) {
	t := &team{
		id: d.Group(), kind: d.GroupKind(), settings: d.Settings(), title: d.Text(command.MaxGroupName),
		properties: slices.Clone(d.Blob(command.MaxGroupProperties)), owner: d.User(), created: d.Int(), dismissed: d.Int(),
		salt: d.Uint(), version: d.Uint(), rateFull: d.Int(), forgotten: d.Uint(), recallsGone: d.Uint(),
		sanctionsEnd: math.MaxInt64,
	}
	for range d.Few(3, maxRequests) {
		t.requests = append(t.requests, query.JoinRequest{User: d.User(), Message: d.Text(command.MaxJoinMessage), Time: d.Int()})
	}
	last := uint64(0)
	ascends := func(arrival uint64) {
		if arrival <= last || arrival > l.u.arrival {
			d.Fail(command.ErrMalformed)
		}
		last = arrival
	}
	for range d.Few(5, keptEvents+keptEnds) {
		e := query.GroupEvent{
			Kind: query.GroupEventKind(d.Byte()), Group: t.id, By: d.User(), Users: d.Users(), Time: d.Int(), Arrival: d.Uint(),
		}
		ascends(e.Arrival)
		t.events = append(t.events, e)
	}
	last = 0
	for range d.Few(5, keptRecalls) {
		rc := teamRecall{arrival: d.Uint(), from: d.Uint(), to: d.Uint(), by: d.User(), sender: d.User()}
		ascends(rc.arrival)
		t.recalls = append(t.recalls, rc)
	}
	t.offer = ownerOffer{to: d.User(), at: d.Int()}
	t.changed = teamChange{arrival: d.Uint(), at: d.Int(), by: d.User()}
	if d.Err != nil || t.id == "" || t.id.Key() != l.u.name || t.changed.arrival > l.u.arrival || l.u.team != nil {
		d.Fail(command.ErrMalformed)
		return
	}
	l.u.team = t // weighed when all of it was read
}

func (l *loader) members(d *command.Decoder) {
	s, u := l.s, l.u
	t := u.team
	for len(d.B) > 0 {
		name := d.User()
		m := member{role: command.Role(d.Byte()), flags: d.Byte(), joined: d.Int()}
		for _, v := range m.numbers() {
			*v = d.Uint()
		}
		var hides []mark
		for range d.Few(3, maxHides) {
			hides = append(hides, mark{seq: d.Uint(), arrival: d.Uint(), by: command.SessionID(d.Uint()), reason: gapDeleted})
		}
		n := len(t.members.items)
		if d.Err != nil || name == "" || m.role < command.RoleMember || m.role > command.RoleOwner || m.from == 0 || m.from > math.MaxInt64 ||
			n > 0 && strings.Compare(string(s.memberName(&t.members.items[n-1])), string(name)) >= 0 ||
			!slices.IsSortedFunc(hides, func(a, b mark) int { return int(a.seq) - int(b.seq) }) {
			d.Fail(command.ErrMalformed)
			return
		}
		s.addMember(u, name, m)
		if len(hides) > 0 {
			t.setHides(command.UserID(name), hides)
		}
	}
}

func (l *loader) notices(d *command.Decoder) {
	t := l.u.team
	for len(d.B) > 0 {
		b := slices.Clone(d.Bytes())
		letter, err := command.DecodeLetter(b)
		if err != nil || letter.From != l.u.name || letter.Kind < command.LetterJoined {
			d.Fail(command.ErrMalformed)
			return
		}
		if _, twice := t.notices[letter.To]; twice {
			d.Fail(command.ErrMalformed)
			return
		}
		if t.notices == nil {
			t.notices = make(map[command.UserID]notice)
		}
		t.notices[letter.To] = notice{version: letter.Number, bytes: b}
		l.s.letterBytes += len(b)
	}
}
