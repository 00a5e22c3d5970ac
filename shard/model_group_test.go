package shard_test

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"sort"
	"strings"

	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
	"github.com/belfry-im/belfry/shard/ring"
)

// How much of its past a group keeps, and for how long.
const (
	groupEvents    = 64
	groupEventsMS  = 60_000
	groupEnds      = 256 // of those that end memberships in a group that stores nothing
	groupRecalls   = 256
	groupRequests  = 100
	groupHides     = 256
	groupRequestMS = 7 * 24 * 3600 * 1000
	groupLeftMS    = 7 * 24 * 3600 * 1000
	groupWishMS    = 30 * 24 * 3600 * 1000
	groupOfferMS   = 7 * 24 * 3600 * 1000
	groupTakenMS   = 30 * 24 * 3600 * 1000
)

// A modelGroup keeps every message that a group ever had, and of its members
// what each of them sees. Nothing is counted: every answer is looked for anew.
type modelGroup struct {
	id              command.GroupID
	alive           bool
	known           bool // it was made at some time
	kind            command.GroupKind
	settings        command.GroupSettings
	name            string
	properties      []byte
	owner           command.UserID
	created         int64
	dismissed       int64
	arrival         uint64
	entries         []*groupEntry // entry seq is at seq-1
	members         map[command.UserID]*groupMember
	requests        []query.JoinRequest
	muted           map[command.UserID]int64 // until when, those that are over too
	banned          map[command.UserID]int64
	savedSettings   map[command.UserID]modelSavedSettings // of those who are gone
	offer           command.UserID                        // who may become the owner, until offerEnd
	offerEnd        int64
	changed         query.GroupEvent   // the last
	events          []query.GroupEvent // that are kept
	forgotten       uint64             // arrival number of the newest that is not
	recalls         []groupRecall      // since it was made
	sent            []groupSent
	fences          []modelFence
	spent           int64 // millionths of messages, of the rate's burst
	spentAt         int64
	version         uint64
	letters         map[command.UserID][]command.Letter
	pastMemberships map[command.UserID][]modelPastMembership
}

// A modelPastMembership is a time in which a user was a member, in the group's order.
type modelPastMembership struct{ from, to uint64 }

type groupEntry struct {
	seq      uint64
	arrival  uint64
	time     int64
	from     command.UserID
	session  command.SessionID
	ttl      uint32
	id       command.MsgID
	cid      string
	mentions []string
	body     []byte
	original uint64 // as that of a modelEntry
	size     int

	gone         query.GapReason // why the log no longer holds it, empty while it does
	taken        query.GapReason // from everybody: recalled or deleted
	takenAt      uint64          // in the group's order; 0 = nobody was told
	belowCutoff  bool            // its shard's cutoff has passed it
	cidForgotten bool            // its cid is not known any more
}

type groupMember struct {
	user            command.UserID
	role            command.Role
	joinedMS        int64
	joinArrival     uint64
	visibleFrom     uint64 // lowest seq that they may read
	invited         bool   // others added them, and they have not spoken
	quiet           bool   // they do not want to be notified
	pinned          bool
	markedUnread    bool   // by the member
	settingsArrival uint64 // of the newest change of these

	read            uint64
	unlistedTo      uint64 // what lies up to here is not unread
	clearedTo       uint64
	readArrival     uint64
	readBy          command.SessionID
	unlistedArrival uint64
	unlistedBy      command.SessionID
	clearedArrival  uint64
	clearedBy       command.SessionID
	hidden          map[uint64]modelHidden // by seq
}

// A modelSavedSettings is what a former member had set.
type modelSavedSettings struct {
	quiet, pinned bool
	until         int64
}

type modelHidden struct {
	arrival uint64
	by      command.SessionID
}

type groupRecall struct {
	arrival    uint64
	from, to   uint64
	by, sender command.UserID
}

type groupSent struct {
	user command.UserID
	cid  string
	at   int64
	seq  uint64
}

// A groupRef is a group in the list of one of its members, according to letters.
type groupRef struct {
	version    uint64
	joined     bool
	owner      bool
	invited    bool // others added them
	byStranger bool // so did a stranger
	how        query.GroupEventKind
	arrival    uint64
}

func (m *model) group(id command.GroupID) *modelGroup {
	g := m.groups[id]
	if g == nil {
		g = &modelGroup{id: id, muted: map[command.UserID]int64{}, banned: map[command.UserID]int64{}, savedSettings: map[command.UserID]modelSavedSettings{}, arrival: 1, letters: map[command.UserID][]command.Letter{}, pastMemberships: map[command.UserID][]modelPastMembership{}}
		m.groups[id] = g
	}
	return g
}

// groupOf is the group of a key, nil if it is a user's.
func (m *model) groupOf(key command.UserID) *modelGroup {
	if id, ok := strings.CutPrefix(string(key), "group "); ok {
		return m.groups[command.GroupID(id)]
	}
	return nil
}

// groupsIn lists the groups of a slot.
func (m *model) groupsIn(slot uint16) (groups []*modelGroup) {
	for _, id := range m.groupIDs() {
		if command.SlotOf(string(id.Key())) == slot {
			groups = append(groups, m.groups[id])
		}
	}
	return groups
}

// groupIDs lists all groups in one order.
func (m *model) groupIDs() []command.GroupID { return slices.Sorted(maps.Keys(m.groups)) }

// waiting are the letters of one direction that no Trim has confirmed.
func (m *model) waiting(from, to command.UserID) []command.Letter {
	if g := m.groupOf(from); g != nil {
		return g.letters[to]
	}
	return m.user(from).outbox(to).waiting
}

func (g *modelGroup) newest() uint64 { return uint64(len(g.entries)) }

func (g *modelGroup) at(seq uint64) *groupEntry {
	if seq == 0 || seq > g.newest() {
		return nil
	}
	return g.entries[seq-1]
}

// held are the entries that are still in the log.
func (g *modelGroup) held() []*groupEntry {
	return g.entries[sort.Search(len(g.entries), func(i int) bool { return g.entries[i].gone == "" }):]
}

func (g *modelGroup) role(who command.UserID) command.Role {
	if who == "" {
		return command.RoleOwner
	}
	if mm := g.members[who]; mm != nil {
		return mm.role
	}
	return command.RoleNone
}

// names lists the members in order.
func (g *modelGroup) names() []command.UserID { return slices.Sorted(maps.Keys(g.members)) }

func (g *modelGroup) counts() bool {
	return g.settings.Unread && g.settings.History != command.HistoryNone
}

func (e *groupEntry) expired(l *command.Limits, now int64) bool {
	return e.time+l.GroupTTL.Milliseconds() <= now || e.ttl > 0 && e.time+int64(e.ttl)*1000 <= now
}

// known is as for users.
func (e *groupEntry) known(sh *modelShard) bool {
	return !e.cidForgotten && !e.belowCutoff && e.time > sh.cutoff && e.time+sh.limits.GroupTTL.Milliseconds() > sh.now
}

// gap returns the reason why nobody is shown the entry, empty when it is shown.
func (e *groupEntry) gap(l *command.Limits, now int64) query.GapReason {
	switch {
	case e.gone != "":
		return e.gone
	case e.taken != "":
		return e.taken
	case e.expired(l, now):
		return query.GapExpired
	case e.belowCutoff:
		return query.GapEvicted
	}
	return ""
}

func (e *groupEntry) leave(l *command.Limits, now int64, reason query.GapReason) {
	if was := e.gap(l, now); was != "" {
		reason = was
	}
	e.gone = reason
}

// gapFor is gap for a member; a nil one is an administrator.
func (g *modelGroup) gapFor(mm *groupMember, e *groupEntry, l *command.Limits, now int64) query.GapReason {
	if mm != nil {
		switch {
		case g.settings.History == command.HistoryNone || e.seq < mm.visibleFrom:
			return query.GapNotMember
		case e.seq <= mm.clearedTo:
			return query.GapDeleted
		}
	}
	if reason := e.gap(l, now); reason != "" {
		return reason
	}
	if mm != nil {
		if _, hidden := mm.hidden[e.seq]; hidden {
			return query.GapDeleted
		}
	}
	return ""
}

func (g *modelGroup) unread(mm *groupMember, l *command.Limits, now int64) (seqs []uint64) {
	if !g.counts() {
		return nil
	}
	for _, e := range g.held() {
		if e.seq > mm.read && e.seq > mm.unlistedTo && e.from != mm.user && g.gapFor(mm, e, l, now) == "" {
			seqs = append(seqs, e.seq)
		}
	}
	return seqs
}

// shown lists what a member can be shown of what arrived after a point.
func (g *modelGroup) shown(mm *groupMember, after uint64, l *command.Limits, now int64) (entries []*groupEntry) {
	for _, e := range g.held() {
		if e.arrival > after && g.gapFor(mm, e, l, now) == "" {
			entries = append(entries, e)
		}
	}
	return entries
}

// lost lists the unread seqs that a login must name as lost, and those that it
// may name besides: what is gone no longer says who sent it and when, nor whether
// the member had hidden it.
func (g *modelGroup) lost(mm *groupMember, since uint64, l *command.Limits, now int64) (must, may []uint64) {
	if !g.counts() {
		return nil, nil
	}
	vague := g.vague()
	for _, e := range g.entries {
		if e.seq <= mm.read || e.seq <= mm.unlistedTo || e.seq <= mm.clearedTo || e.seq < mm.visibleFrom {
			continue
		}
		_, hidden := mm.hidden[e.seq]
		evicted := e.gap(l, now) == query.GapEvicted
		switch {
		case evicted && e.from != mm.user && e.arrival > since && !hidden && e.seq > vague:
			must = append(must, e.seq)
		case evicted || e.seq <= vague:
			may = append(may, e.seq)
		}
	}
	return must, may
}

// vague is the seq up to which it is not known exactly why messages are gone.
func (g *modelGroup) vague() uint64 {
	runs, reason := 0, query.GapReason("")
	for _, e := range slices.Backward(g.entries[:len(g.entries)-len(g.held())]) {
		if e.gone != reason {
			runs, reason = runs+1, e.gone
		}
		if runs > keptGone+1 {
			return e.seq
		}
	}
	return 0
}

func (g *modelGroup) history(mm *groupMember, q query.HistoryQuery, l *command.Limits, now int64) (p groupPage) {
	from, to, up := uint64(1), g.newest(), false
	switch {
	case q.HasAfter:
		from, up = q.After+1, true
	case q.To != 0:
		from, to, up = q.From, min(q.To, to), true
	case q.Before != 0:
		to = min(q.Before-1, to)
	}
	if from > to || from == 0 {
		return p
	}
	p.from, p.to = from, to
	size := 0
	for n := range to - from + 1 {
		seq := to - n
		if up {
			seq = from + n
		}
		e := g.at(seq)
		if g.gapFor(mm, e, l, now) != "" {
			continue
		}
		if n := len(p.entries); n == q.Limit || n > 0 && size+e.size > q.MaxBytes {
			p.more = true
			if up {
				p.to = seq - 1
			} else {
				p.from = seq + 1
			}
			break
		}
		size += e.size
		p.entries = append(p.entries, e)
	}
	if !up {
		slices.Reverse(p.entries)
	}
	for seq := p.from; seq <= p.to; seq++ {
		if reason := g.gapFor(mm, g.at(seq), l, now); reason != "" {
			p.gaps = append(p.gaps, query.Gap{From: seq, To: seq, Reason: reason})
		}
	}
	return p
}

// A groupPage is what History must answer, with a gap for each seq.
type groupPage struct {
	from, to uint64
	entries  []*groupEntry
	gaps     []query.Gap
	more     bool
}

// ownChanges are those of a member's own view after a point, but what a session
// did itself. Which messages they hid comes last, and apart.
func (mm *groupMember) ownChanges(id command.GroupID, session command.SessionID, after uint64) (changes []query.Change, hidden map[uint64]modelHidden) {
	add := func(at uint64, by command.SessionID, c query.Change) {
		if at > after && (session == 0 || by != session) {
			c.Group, c.Arrival = id, at
			changes = append(changes, c)
		}
	}
	add(mm.readArrival, mm.readBy, query.Change{Kind: query.ChangeRead, Seq: mm.read})
	add(mm.clearedArrival, mm.clearedBy, query.Change{Kind: query.ChangeConversationDeleted, Seq: mm.clearedTo, Messages: true})
	add(mm.unlistedArrival, mm.unlistedBy, query.Change{Kind: query.ChangeConversationDeleted, Seq: mm.unlistedTo})
	add(mm.settingsArrival, 0, query.Change{Kind: query.ChangeSettings, Settings: mm.settings()})
	slices.SortFunc(changes, func(a, b query.Change) int { return cmp.Compare(a.Arrival, b.Arrival) })
	hidden = map[uint64]modelHidden{}
	for seq, h := range mm.hidden {
		if h.arrival > after && (session == 0 || h.by != session) {
			hidden[seq] = h
		}
	}
	return changes, hidden
}

func (mm *groupMember) settings() query.ConversationSettings {
	return query.ConversationSettings{Muted: mm.quiet, Pinned: mm.pinned, Unread: mm.markedUnread}
}

// append adds a message to the log.
func (g *modelGroup) append(e *groupEntry) {
	if last := g.at(g.newest()); last != nil {
		e.time = max(e.time, last.time)
	}
	g.arrival++
	e.seq, e.arrival = g.newest()+1, g.arrival
	e.size = ring.EntrySize(&ring.Entry{
		Seq: e.seq, Flags: ring.Own, Time: e.time, Arrival: e.arrival, Session: uint64(e.session), TTL: e.ttl, ID: e.id,
		From: []byte(e.from), CID: []byte(e.cid), Mentions: shard.EncodeMentions(e.mentions), Body: e.body,
	})
	g.entries = append(g.entries, e)
}

func (g *modelGroup) bytes() (n int) {
	for _, e := range g.held() {
		n += e.size
	}
	return n
}

// limitHistory removes the oldest messages until the log fits.
func (g *modelGroup) limitHistory(l *command.Limits, now int64) {
	for g.bytes() > l.GroupBytes {
		g.expireHead(l, now)
		if g.bytes() > l.GroupBytes {
			g.held()[0].cidForgotten = true
			g.held()[0].leave(l, now, query.GapEvicted)
		}
		g.expireHead(l, now)
	}
}

func (g *modelGroup) expireHead(l *command.Limits, now int64) {
	for _, e := range g.held() {
		if !e.expired(l, now) {
			return
		}
		e.leave(l, now, query.GapExpired)
	}
}

// expire removes what time has overtaken.
func (g *modelGroup) expire(sh *modelShard) {
	g.expireHead(&sh.limits, sh.now)
	for len(g.events) > 0 && g.events[0].Time+groupEventsMS <= sh.now {
		g.forgetEvent(0)
	}
	g.requests = slices.DeleteFunc(g.requests, func(q query.JoinRequest) bool { return q.Time+groupRequestMS <= sh.now })
}

func (g *modelGroup) forgetEvent(i int) {
	if e := g.events[i]; g.settings.StoresMessages || e.Kind == query.EventRemoved || e.Kind == query.EventDismissed || e.Kind == query.EventLeft {
		g.forgotten = max(g.forgotten, e.Arrival)
	}
	g.events = slices.Delete(g.events, i, i+1)
}

// cut marks what a shard's cutoff takes from a group.
func (g *modelGroup) cut(sh *modelShard) {
	for _, e := range g.entries {
		e.belowCutoff = e.belowCutoff || e.time <= sh.cutoff
	}
}

// settle removes what is below the cutoff, see modelUser.settle.
// later is 0 for a time that has passed.
func later(until, now int64) int64 {
	if until <= now {
		return 0
	}
	return until
}

// offered is who may become the owner.
func (g *modelGroup) offered(now int64) command.UserID {
	if g.offerEnd <= now {
		return ""
	}
	return g.offer
}

func (g *modelGroup) evictToCutoff(sh *modelShard) {
	for _, e := range g.held() {
		if !e.belowCutoff {
			return
		}
		e.leave(&sh.limits, sh.now, query.GapEvicted)
	}
}

// member reports whether a user was one at a point in the group's order.
func (g *modelGroup) memberAt(user command.UserID, arrival uint64) bool {
	return slices.ContainsFunc(g.pastMemberships[user], func(s modelPastMembership) bool { return s.from < arrival && arrival < s.to })
}

// trim forgets the letters that a user's shard has confirmed.
func (g *modelGroup) trim(sh *modelShard, c *command.TrimOutbox) {
	g.evictToCutoff(sh)
	g.letters[c.To] = slices.DeleteFunc(g.letters[c.To], func(l command.Letter) bool { return l.Number <= c.UpTo })
}

// forgetGroups forgets the groups that a user left long ago.
func (u *modelUser) forgetGroups(now int64) {
	maps.DeleteFunc(u.groups, func(_ command.GroupID, ref groupRef) bool {
		return !ref.joined && int64(ref.version)+groupLeftMS <= now
	})
}

// begins and ends note a membership.
func (g *modelGroup) begins(user command.UserID, at uint64) {
	g.pastMemberships[user] = append(g.pastMemberships[user], modelPastMembership{at, math.MaxUint64})
}

func (g *modelGroup) ends(user command.UserID, at uint64) {
	if n := len(g.pastMemberships[user]); n > 0 && g.pastMemberships[user][n-1].to == math.MaxUint64 {
		g.pastMemberships[user][n-1].to = at
	}
}
