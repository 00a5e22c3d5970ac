package shard_test

import (
	"bytes"
	"math"
	"slices"

	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
	"github.com/belfry-im/belfry/shard/ring"
)

// A model is what docs/semantics.md says, told the slow way. It keeps every
// entry that ever was, with flags for what became of it, and scans them for
// each answer. It knows nothing of how package shard keeps its state.
//
// All users are in one map, since each lives in one shard at a time; what
// differs by shard is time, limits and which slots it serves.
type model struct {
	shards []*modelShard
	users  map[command.UserID]*modelUser
	groups map[command.GroupID]*modelGroup

	// cursors are all that were handed out.
	cursors map[string]cursorPoint

	// adopt tells what the state chose where the texts leave a choice; nil
	// where there must be none.
	adopt *adoption

	left uint64 // users that the state says are left of a slot in the command in hand

	// What the batch in hand did, in order.
	posted  []command.Letter
	kicked  []command.Kick
	touched map[command.UserID]bool
	told    []shard.HookChange // what hooks that want all are told of in this batch

	movedGroups  map[command.GroupID]bool
	movedMembers map[shard.MemberRef]bool
}

// A cursorPoint is what the text of a cursor stands for.
type cursorPoint struct {
	user    command.UserID // or a group's key
	arrival uint64
}

type slotState uint8

const (
	slotAbsent slotState = iota
	slotOwned
	slotFrozen
)

type modelShard struct {
	now       int64
	cutoff    int64
	version   uint64 // of the configuration
	limits    command.Limits
	mapEpoch  uint64
	slots     [command.Slots]slotState
	leaving   map[uint16]*modelLeaving
	arriving  map[uint16]*modelArriving
	ended     map[uint16]modelEnded
	hooks     modelHooks
	sweepFrom uint16 // where the last RaiseCutoff ended
}

type modelUser struct {
	id          command.UserID
	loggedIn    bool // ever
	lastSeen    int64
	arrival     uint64 // last number given; the first message is 2, so that no cursor is 0
	lastSession command.SessionID
	sessions    []*modelSession // by number
	views       map[command.UserID]*modelView
	peers       []command.UserID // of views, in the order they came to be
	blocks      []command.UserID // sorted
	blockedBy   map[command.UserID]bool
	changes     []modelChange
	sent        []modelSent
	fences      []modelFence
	hourStart   int64
	hourOpened  int // conversations begun since hourStart
	opened      int // ever
	out         map[command.UserID]*modelOutbox
	in          map[command.UserID]uint64 // last letter applied
	refusedFrom map[command.UserID]int    // messages that a block stopped
	groups      map[command.GroupID]groupRef

	historyTTL int64 // ms, history that an administrator has set
	suspended  bool
	tokensFrom int64
	erased     command.SessionID // the last session before they were erased
}

// An adoption reads what a state did in the command that the model is about to
// follow. What the log has dropped leaves a state less to go by than the model
// has, and when exactly it drops what has expired is its own business.
type adoption struct {
	readSeq          func(user, peer command.UserID) uint64
	receipted        func(user, peer command.UserID) uint64
	holdsBelowCutoff func(user command.UserID) bool

	looksErased func(user, peer command.UserID) (first uint64, ok bool)
	next        func() uint64 // Result.Seq
}

type modelSession struct {
	number   command.SessionID
	device   string
	platform string
	autoRead bool
	issued   int64
	results  []modelResult // the last 16
}

type modelResult struct {
	request command.Request
	result  command.Result
}

type modelOutbox struct {
	last    uint64 // number of the last letter
	waiting []command.Letter
}

// modelSent remembers a send for the dedupe window.
type modelSent struct {
	to  command.UserID
	cid string
	at  int64
	seq uint64
}

// A modelFence is the login of a device after which something was stored.
type modelFence struct {
	user  command.UserID // of a group's
	at    int64
	login command.Origin
}

// fenced reports whether a message comes from before a later login of its device.
func fenced(fences []modelFence, sh *modelShard, user command.UserID, o command.Origin) bool {
	return o.Login != 0 && fenceFrom(fences, sh, user, o.Device, o.Login+1)
}

// fence adds a message's login to fences, unless it or a later one is there.
func fence(fences *[]modelFence, sh *modelShard, user command.UserID, o command.Origin) {
	if o.Fence && !fenceFrom(*fences, sh, user, o.Device, o.Login) {
		*fences = append(*fences, modelFence{user, sh.now, o})
	}
}

func fenceFrom(fences []modelFence, sh *modelShard, user command.UserID, device command.DeviceHash, login command.SessionID) bool {
	return slices.ContainsFunc(fences, func(f modelFence) bool {
		return f.user == user && f.login.Device == device && f.login.Login >= login &&
			f.at+sh.limits.DedupWindow.Milliseconds() > sh.now
	})
}

type modelChange struct {
	kind     query.ChangeKind
	peer     command.UserID
	arrival  uint64
	session  command.SessionID
	seq      uint64
	messages bool
	back     bool // a read cursor was set back
}

type modelView struct {
	peer         command.UserID
	entries      []*modelEntry // entry seq is at seq-1
	readSeq      uint64
	receipt      uint64 // highest own seq that the peer has read
	receipted    uint64 // highest seq of the peer that the peer was told is read
	peerRead     int64  // when
	unlistedTo   uint64 // recents show only what lies above
	received     bool   // the peer has written, since the user was erased if he was
	clearedTo    uint64 // up to here history was deleted with the conversation
	muted        bool
	pinned       bool
	markedUnread bool   // as unread, by the user
	timeless     uint64 // times up to here bind no later entry
	imported     modelImport
	activity     uint64 // arrival number of the newest message or change when it was erased
	sent         bool   // something was sent from here
}

// A modelImport is what was imported into a view.
type modelImport struct{ stream, row, arrival uint64 }

type modelEntry struct {
	seq      uint64
	own      bool
	time     int64
	arrival  uint64
	peer     uint64 // seq in the sender's view, of an incoming message
	session  command.SessionID
	ttl      uint32
	id       command.MsgID
	cid      string
	mentions []string
	body     []byte
	original uint64 // hash of what the client sent, if body replaced it
	size     int

	belowCutoff  bool            // its shard's cutoff has passed it
	empty        bool            // had expired when it came; stored without its body
	gone         query.GapReason // why the log no longer holds it, empty while it does
	recalled     bool
	deleted      bool // by itself; with its conversation, gone says so
	unqueued     bool // left the queue other than by a report or age
	lost         bool // a limit took it from the queue
	imported     bool
	historyTTL   int64 // as of its user
	cidForgotten bool  // its cid is not known any more
	blurred      bool  // a read may have hidden it before its user's history was lengthened
}

func newModel(shards int) *model {
	m := &model{
		users:   map[command.UserID]*modelUser{},
		groups:  map[command.GroupID]*modelGroup{},
		cursors: map[string]cursorPoint{},
		touched: map[command.UserID]bool{},

		movedGroups:  map[command.GroupID]bool{},
		movedMembers: map[shard.MemberRef]bool{},
	}
	for range shards {
		m.shards = append(m.shards, &modelShard{limits: command.Limits{}.WithDefaults()})
	}
	return m
}

// begin starts a batch.
func (m *model) begin() {
	m.posted, m.kicked, m.told = nil, nil, nil
	clear(m.touched)
	clear(m.movedGroups)
	clear(m.movedMembers)
}

func (m *model) user(id command.UserID) *modelUser {
	u := m.users[id]
	if u == nil {
		u = &modelUser{
			id: id, arrival: 1, views: map[command.UserID]*modelView{}, blockedBy: map[command.UserID]bool{},
			out: map[command.UserID]*modelOutbox{}, in: map[command.UserID]uint64{},
			refusedFrom: map[command.UserID]int{}, groups: map[command.GroupID]groupRef{},
		}
		m.users[id] = u
	}
	return u
}

func (u *modelUser) view(peer command.UserID) *modelView {
	v := u.views[peer]
	if v == nil {
		v = &modelView{peer: peer}
		u.views[peer] = v
		u.peers = append(u.peers, peer)
	}
	return v
}

func (u *modelUser) session(number command.SessionID) *modelSession {
	for _, s := range u.sessions {
		if s.number == number {
			return s
		}
	}
	return nil
}

func (u *modelUser) outbox(to command.UserID) *modelOutbox {
	box := u.out[to]
	if box == nil {
		box = &modelOutbox{}
		u.out[to] = box
	}
	return box
}

func (v *modelView) newest() uint64 { return uint64(len(v.entries)) }

// newestTime is the floor for the time of the next entry.
func (v *modelView) newestTime() int64 {
	if last := v.at(v.newest()); last != nil && last.seq > v.timeless {
		return last.time
	}
	return math.MinInt64
}

// at returns the entry of a seq, nil when there never was one.
func (v *modelView) at(seq uint64) *modelEntry {
	if seq == 0 || seq > v.newest() {
		return nil
	}
	return v.entries[seq-1]
}

// held are the entries that limits and age have not removed yet.
func (v *modelView) held() []*modelEntry {
	i := slices.IndexFunc(v.entries, func(e *modelEntry) bool { return e.gone == "" })
	if i < 0 {
		return nil
	}
	return v.entries[i:]
}

// expired reports whether history no longer shows the entry for its age.
func (e *modelEntry) expired(l *command.Limits, now int64) bool {
	return e.empty || e.time+max(l.HistoryTTL.Milliseconds(), e.historyTTL) <= now ||
		e.ttl > 0 && e.time+int64(e.ttl)*1000 <= now
}

// gap returns the reason why history does not show the entry, empty when it does.
func (e *modelEntry) gap(l *command.Limits, now int64) query.GapReason {
	switch {
	case e.gone != "":
		return e.gone
	case e.recalled:
		return query.GapRecalled
	case e.deleted:
		return query.GapDeleted
	case e.expired(l, now):
		return query.GapExpired
	case e.belowCutoff:
		return query.GapEvicted
	}
	return ""
}

// known reports whether a repeat of an own message is recognized by its cid, however
// long ago it was sent: until it would be too old for history, whatever became of it.
func (e *modelEntry) known(sh *modelShard) bool {
	return e.own && !e.cidForgotten && !e.belowCutoff && e.time > sh.cutoff &&
		e.time+max(sh.limits.HistoryTTL.Milliseconds(), e.historyTTL) > sh.now
}

// leave takes the entry out of the log. A gap keeps the reason that it has.
func (e *modelEntry) leave(l *command.Limits, now int64, reason query.GapReason) {
	if was := e.gap(l, now); was != "" {
		reason = was
	}
	e.gone = reason
}

// queued reports whether the entry is an unread offline message of its view.
func (v *modelView) queued(e *modelEntry, l *command.Limits, now int64) bool {
	return !e.belowCutoff && v.queueable(e, l, now)
}

// queueable is queued but for the cutoff.
func (v *modelView) queueable(e *modelEntry, l *command.Limits, now int64) bool {
	return !e.own && e.seq > v.readSeq && !e.unqueued && e.gone == "" && !e.recalled && !e.deleted &&
		!e.expired(l, now) && e.time+l.OfflineTTL.Milliseconds() > now
}

func (v *modelView) unread(l *command.Limits, now int64) (n int) {
	for _, e := range v.held() {
		if v.queued(e, l, now) {
			n++
		}
	}
	return n
}

// last is the message that recents show of the conversation, nil for none.
func (v *modelView) last(l *command.Limits, now int64) *modelEntry {
	for _, e := range slices.Backward(v.held()) {
		if e.seq > v.unlistedTo && e.gap(l, now) == "" {
			return e
		}
	}
	return nil
}

// append adds an entry to the view and stamps what it derives from it.
func (u *modelUser) append(v *modelView, e *modelEntry) {
	e.time = max(e.time, v.newestTime())
	u.arrival++
	e.seq, e.arrival, e.historyTTL = v.newest()+1, u.arrival, u.historyTTL
	v.received = v.received || !e.own
	var flags ring.Flags
	if e.own {
		flags |= ring.Own
		v.sent = true
	}
	if e.empty {
		flags |= ring.Expired
	}
	e.size = ring.EntrySize(&ring.Entry{
		Seq: e.seq, Flags: flags, Time: e.time, Arrival: e.arrival, Peer: e.peer, Session: uint64(e.session),
		TTL: e.ttl, ID: e.id, CID: []byte(e.cid), Mentions: shard.EncodeMentions(e.mentions), Body: e.body,
	})
	v.entries = append(v.entries, e)
}

func (u *modelUser) change(c modelChange) {
	u.arrival++
	c.arrival = u.arrival
	u.changes = append(u.changes, c)
}

// serves reports whether a shard takes commands for a key.
func (m *model) serves(sh *modelShard, key command.UserID) bool {
	return sh.slots[command.SlotOf(string(key))] == slotOwned
}

// post numbers a letter and applies it at once where nothing stands between,
// else leaves it waiting.
func (m *model) post(sh *modelShard, l command.Letter) {
	box := m.user(l.From).outbox(l.To)
	box.last++
	l.Number = box.last
	if m.serves(sh, l.To) && len(box.waiting) == 0 {
		m.receive(sh, &l)
		return
	}
	box.waiting = append(box.waiting, l)
	m.posted = append(m.posted, l)
}

// receive applies the next letter of its direction.
func (m *model) receive(sh *modelShard, l *command.Letter) {
	u := m.user(l.To)
	u.evictToCutoff(sh)
	u.in[l.From] = l.Number
	v := u.view(l.From)
	switch l.Kind {
	case command.LetterMessage:
		if slices.Contains(u.blocks, l.From) {
			u.refusedFrom[l.From]++
			return
		}
		e := &modelEntry{
			historyTTL: u.historyTTL, time: max(l.Time, v.newestTime()), peer: l.Seq, ttl: l.TTL, id: l.ID, cid: l.CID, mentions: l.Mentions, body: bytes.Clone(l.Body),
		}
		if e.expired(&sh.limits, sh.now) || len(l.Body) == 0 {
			e.empty, e.body, e.mentions = true, nil, nil
		}
		u.append(v, e)
		if !e.empty {
			sh.hooks.add(query.HookRef{User: l.To, Peer: l.From, Seq: e.seq})
		}
		u.cut(sh)
		u.evictToCutoff(sh)
		m.touched[u.id] = true
		u.limitQueue(&sh.limits, sh.now)
		u.limitHistory(&sh.limits, sh.now)
	case command.LetterRecall:
		for _, e := range v.held() {
			if !e.own && e.peer == l.Seq && e.gap(&sh.limits, sh.now) == "" {
				e.recalled = true
				u.change(modelChange{kind: query.ChangeRecall, peer: l.From, seq: e.seq})
				m.addHookChange(sh, u.id, query.Change{Kind: query.ChangeRecall, Peer: l.From, By: l.From, Ranges: oneSeq(e.seq)})
				m.touched[u.id] = true
			}
		}
	case command.LetterReceipt:
		if l.Seq <= v.receipt {
			return
		}
		v.receipt, v.peerRead = l.Seq, l.Time
		u.change(modelChange{kind: query.ChangeReceipt, peer: l.From, seq: l.Seq})
		m.touched[u.id] = true
	case command.LetterBlock:
		u.blockedBy[l.From] = true
	case command.LetterUnblock:
		delete(u.blockedBy, l.From)
	}
}
