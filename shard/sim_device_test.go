package shard_test

import (
	"fmt"
	"slices"
	"strings"

	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// A device is a terminal of a user, with what it holds. It knows nothing but
// what it was pushed and what it did itself, and must come out right.
type device struct {
	user     command.UserID
	name     string
	platform string
	autoRead bool

	session command.SessionID // 0: not connected
	logins  []command.SessionID
	sync    *query.Sync // still to be pulled
	want    []modelRef  // what a sync without cursor has still to push
	told    uint64      // arrival up to which it was told
	base    uint64      // it was told of everything after this
	cursor  bool        // it has one to show
	former  uint64      // an earlier told, for when an ack is lost

	held     map[heldKey]*heldMessage
	read     map[command.UserID]uint64
	receipts map[command.UserID]uint64
	settings map[command.UserID]query.ConversationSettings
	blocked  map[command.UserID]bool
	groups   map[command.GroupID]bool // whose member the user is
}

type heldKey struct {
	peer command.UserID
	seq  uint64
}

type heldMessage struct{ recalled, deleted bool }

func (w *world) makeDevices() {
	for _, user := range w.users {
		for i := range 1 + w.rng.IntN(3) {
			d := &device{
				user: user, name: fmt.Sprintf("device%d", i), platform: pick(w, []string{"", "ios", "web"}),
				autoRead: w.chance(60),
			}
			d.forget()
			w.devices = append(w.devices, d)
		}
	}
}

// forget empties the device, as if it were new.
func (d *device) forget() {
	d.held = map[heldKey]*heldMessage{}
	d.read = map[command.UserID]uint64{}
	d.receipts = map[command.UserID]uint64{}
	d.settings, d.blocked = map[command.UserID]query.ConversationSettings{}, map[command.UserID]bool{}
	d.groups = map[command.GroupID]bool{}
	d.cursor = false
}

// device finds the connected device of a session.
func (w *world) device(user command.UserID, session command.SessionID) *device {
	for _, d := range w.devices {
		if d.user == user && d.session == session && session != 0 {
			return d
		}
	}
	return nil
}

func (d *device) hold(peer command.UserID, seq uint64) *heldMessage {
	m := d.held[heldKey{peer, seq}]
	if m == nil {
		m = &heldMessage{}
		d.held[heldKey{peer, seq}] = m
	}
	return m
}

func (d *device) recalled(peer command.UserID, seq uint64) {
	if m := d.held[heldKey{peer, seq}]; m != nil {
		m.recalled = true
	}
}

func (d *device) deleted(peer command.UserID, seq uint64) {
	if m := d.held[heldKey{peer, seq}]; m != nil {
		m.deleted = true
	}
}

// wiped deletes what the device holds of a conversation.
func (d *device) wiped(peer command.UserID) {
	for key, m := range d.held {
		if key.peer == peer {
			m.deleted = true
		}
	}
}

// login connects a device: with its cursor, an old one, a bad one or none.
func (w *world) login() {
	d := pick(w, w.devices)
	cmd := &command.Login{
		User: d.user, Device: d.name, Platform: d.platform, AutoRead: d.autoRead,
		Policy: []command.Policy{0, 0, 0, 0, 0, 0, 0, 1, 1, 2}[w.rng.IntN(10)], IssuedAt: w.issuedAt(),
	}
	switch {
	case w.chance(10): // its data was cleared
	case w.chance(5):
		cmd.HasCursor, cmd.Cursor = true, w.badCursor(d)
	case d.cursor:
		since := d.told
		if w.chance(15) && d.former >= d.base {
			since = d.former
		}
		cmd.HasCursor, cmd.Cursor = true, w.cursor(d.user, since)
	}
	w.alone(cmd, func(r *command.Result) {
		if r.Code != command.OK {
			return
		}
		w.disconnect(r)
		d.session = r.Session
		d.logins = append(d.logins, r.Session)
		w.startSync(d, r)
	})
}

// cursor returns the text of a point and remembers it for the model.
func (w *world) cursor(user command.UserID, arrival uint64) string {
	text := w.shardOf(user).leader.Cursor(user, arrival)
	w.model.cursors[text] = cursorPoint{user, arrival}
	return text
}

func (w *world) badCursor(d *device) string {
	switch w.rng.IntN(4) {
	case 0:
		return "nonsense"
	case 1:
		if other := pick(w, w.users); other != d.user {
			return w.cursor(other, d.told)
		}
	case 2:
		return w.cursor(d.user, w.model.user(d.user).arrival+1000) // beyond the end
	}
	return strings.Repeat("A", w.rng.IntN(50))
}

// leave ends a session, or just its socket.
func (w *world) leave() {
	d := pick(w, w.devices)
	if d.session == 0 {
		return
	}
	if w.chance(70) {
		w.send(&command.Logout{User: d.user, Session: d.session, LastSeen: w.shardOf(d.user).leader.Now() + int64(d.session)*700%2000 - 1500}, nil)
	}
	d.session = 0
}

// startSync takes the sync of a login and compares it.
func (w *world) startSync(d *device, r *command.Result) {
	sh := w.shardOf(d.user)
	now := w.readTime(sh)
	mode := pick(w, []query.RecentsMode{query.RecentsOn, query.RecentsOn, query.RecentsQuiet, query.RecentsOff})
	sync := sh.leader.StartSync(d.user, r, mode, now)
	d.want = w.checkSync(d.user, r, mode, sync, now)
	d.sync = sync
	d.former = d.told
	if r.CursorArrival > 0 {
		d.told = r.CursorArrival
		// What the login acked it did itself.
		for _, peer := range w.model.user(d.user).peers {
			if v := w.model.user(d.user).views[peer]; d.autoRead {
				d.read[peer] = v.readSeq
			}
		}
		return
	}
	d.forget()
	for _, ref := range sync.Groups {
		d.groups[ref.Group] = true
	}
	d.told, d.base, d.former = sync.Arrival, sync.Arrival, sync.Arrival
}

// pull reads on for a connected device, as far as it has room.
func (w *world) pull() {
	d := pick(w, w.devices)
	w.flush(w.shardOf(d.user))
	if d.session == 0 || w.moving(d.user) {
		return
	}
	for range 1 + w.rng.IntN(5) {
		if !w.pullOnce(d) {
			break
		}
	}
	if w.chance(60) {
		w.ackSome(d)
	}
}

// either returns one of the replicas of a shard: who pulls must not notice that there is
// another leader.
func (w *world) either(sh *simShard) *shard.State {
	if w.chance(50) {
		return sh.follower
	}
	return sh.leader
}

// moving reports whether the user's slot is between two shards.
func (w *world) moving(user command.UserID) bool {
	return !w.shardOf(user).leader.Owns(command.SlotOf(string(user)))
}

// ackSome reports what an auto-read device holds.
func (w *world) ackSome(d *device) {
	if !d.autoRead {
		return
	}
	for _, peer := range w.model.user(d.user).peers {
		v := w.model.user(d.user).views[peer]
		for _, e := range v.entries {
			if e.arrival <= d.told && e.seq > v.readSeq && !e.own && w.chance(50) {
				cmd := &command.ReadReport{User: d.user, Session: d.session, Peer: peer, Seq: e.seq, Auto: true}
				w.ask(cmd, true, func(d *device) { d.read[peer] = v.readSeq })
				break
			}
		}
	}
}

// pullOnce reads one batch and reports whether there is more.
func (w *world) pullOnce(d *device) bool {
	sh := w.shardOf(d.user)
	u := w.model.user(d.user)
	limits := &w.model.shards[sh.index].limits
	now := w.readTime(sh)
	maxMessages, maxBytes := 1+w.rng.IntN(8), 1+w.rng.IntN(2000)
	if w.chance(40) {
		maxMessages, maxBytes = 100, 1<<20
	}
	up := &w.batch
	after := d.told
	var want []modelRef
	upTo := u.arrival
	ordered := true
	switch {
	case d.sync != nil && d.sync.CursorArrival == 0:
		want, ordered = visibleRefs(d.want, limits, now), false
		w.either(sh).NextSync(d.user, d.sync, up, maxMessages, maxBytes, now)
	case d.sync != nil:
		upTo = d.sync.Arrival
		want = u.since(limits, d.session, after, upTo, now)
		w.either(sh).NextSync(d.user, d.sync, up, maxMessages, maxBytes, now)
	default:
		want = u.since(limits, d.session, after, upTo, now)
		w.either(sh).UpdatesAfter(d.user, d.session, after, up, maxMessages, maxBytes, now)
	}
	what := fmt.Sprintf("Since(%s/%d, %d)", d.user, d.session, after)
	if d.sync != nil {
		what = "NextSync of " + what
	}
	w.checkBatch(what, u, up, want, maxMessages, maxBytes)
	if !ordered {
		if n := len(up.Messages); n > 0 {
			d.want = d.want[slices.Index(d.want, want[n-1])+1:]
		}
	} else {
		w.checkOrder(what, up, after, upTo)
		// A session whose window is full takes a part, and reads on from there.
		if n := len(up.Items); d.sync == nil && n > 1 && w.chance(20) {
			up.Items = up.Items[:1+w.rng.IntN(n-1)]
			if item := up.Items[len(up.Items)-1]; item.Message >= 0 {
				up.Through = up.Messages[item.Message].Arrival
			} else {
				up.Through = up.Changes[item.Change].Arrival
			}
			up.More = true
		}
	}
	d.take(w, what, up)
	if up.More {
		if ordered {
			d.told = up.Through
		}
		return true
	}
	if ordered && up.Through != upTo {
		w.failf("%s: Next = %d, want %d", what, up.Through, upTo)
	}
	if ordered {
		d.former, d.told = d.told, upTo
	}
	d.cursor = true
	if d.sync != nil {
		d.sync = nil
		return true
	}
	w.checkDevice(d)
	return false
}

// visibleRefs are those that can still be shown.
func visibleRefs(refs []modelRef, l *command.Limits, now int64) (still []modelRef) {
	for _, r := range refs {
		if r.entry.gap(l, now) == "" {
			still = append(still, r)
		}
	}
	return still
}

// catchUpDevice pulls until there is no more.
func (w *world) catchUpDevice(d *device) {
	for w.pullOnce(d) {
	}
}

// take applies a batch to what the device holds.
func (d *device) take(w *world, what string, up *query.Updates) {
	u := w.model.user(d.user)
	for _, item := range up.Items {
		if item.Message >= 0 {
			m := &up.Messages[item.Message]
			d.hold(command.UserID(strings.Clone(string(m.Peer))), m.Seq)
			continue
		}
		c := &up.Changes[item.Change]
		if c.Kind == query.ChangeGroupJoined || c.Kind == query.ChangeGroupLeft {
			d.takeGroup(w, what, u, c)
			continue
		}
		peer := command.UserID(strings.Clone(string(c.Peer)))
		v := u.views[peer]
		if v == nil {
			w.failf("%s: a change of u:%s, want none", what, peer)
		}
		switch c.Kind {
		case query.ChangeRead:
			if c.Seq != v.readSeq {
				w.failf("%s: ChangeRead of u:%s to %d, want %d", what, peer, c.Seq, v.readSeq)
			}
			d.read[peer] = c.Seq
		case query.ChangeReceipt:
			if c.Seq != v.receipt || c.Time != v.peerRead {
				w.failf("%s: ChangeReceipt of u:%s to %d at %d, want %d at %d", what, peer, c.Seq, c.Time, v.receipt, v.peerRead)
			}
			d.receipts[peer] = c.Seq
		case query.ChangeRecall, query.ChangeMessagesDeleted:
			for _, r := range c.Ranges {
				for seq := r.From; seq <= r.To; seq++ {
					d.takeMark(w, what, v, c, seq)
				}
			}
		case query.ChangeSettings:
			if c.Settings != v.settings() {
				w.failf("%s: ChangeSettings of u:%s to %+v, want %+v", what, peer, c.Settings, v.settings())
			}
			d.settings[peer] = c.Settings
		case query.ChangeBlocked:
			if _, want := slices.BinarySearch(u.blocks, peer); c.Blocked != want {
				w.failf("%s: ChangeBlocked of %s to %v, want %v", what, peer, c.Blocked, want)
			}
			d.blocked[peer] = c.Blocked
		case query.ChangeConversationDeleted:
			if want := max(v.unlistedTo, v.clearedTo); c.Seq == 0 || c.Seq > want || !c.Messages && c.Seq != v.unlistedTo || c.Messages && c.Seq != v.clearedTo {
				w.failf("%s: ChangeConversationDeleted of u:%s up to %d, messages %v, want %d, %d", what, peer, c.Seq, c.Messages, v.unlistedTo, v.clearedTo)
			}
			if c.Messages {
				d.wiped(peer)
			}
		default:
			w.failf("%s: change of kind %d", what, c.Kind)
		}
	}
}

func (d *device) takeMark(w *world, what string, v *modelView, c *query.Change, seq uint64) {
	e := v.at(seq)
	if c.Kind == query.ChangeRecall {
		by := v.peer
		if e != nil && e.own {
			by = d.user
		}
		if e == nil || !e.recalled || c.By != by {
			w.failf("%s: recall of u:%s/%d by %s, want none of that", what, v.peer, seq, c.By)
		}
		d.recalled(v.peer, seq)
		return
	}
	if e == nil || !e.deleted {
		w.failf("%s: deletion of u:%s/%d, want none", what, v.peer, seq)
	}
	d.deleted(v.peer, seq)
}

// checkDevice compares a device that has read everything with the truth.
func (w *world) checkDevice(d *device) {
	u := w.model.user(d.user)
	sh := w.shardOf(d.user)
	limits := &w.model.shards[sh.index].limits
	now := sh.leader.Now() + readAhead // what an earlier read hid for its age may be missing
	for _, peer := range u.peers {
		v := u.views[peer]
		for _, e := range v.held() {
			if e.arrival > d.base && !e.imported && !e.blurred && e.gap(limits, now) == "" && d.held[heldKey{peer, e.seq}] == nil {
				w.failf("%s of %s does not hold u:%s/%d, arrival %d", d.name, d.user, peer, e.seq, e.arrival)
			}
		}
	}
	for key, m := range d.held {
		e := u.views[key.peer].at(key.seq)
		if e.recalled && !m.recalled && !m.deleted {
			w.failf("%s of %s does not know that u:%s/%d was recalled", d.name, d.user, key.peer, key.seq)
		}
		if (e.deleted || e.gone == query.GapDeleted) && !m.deleted && !m.recalled {
			w.failf("%s of %s does not know that u:%s/%d was deleted", d.name, d.user, key.peer, key.seq)
		}
		if e.gone != "" {
			delete(d.held, key)
		}
	}
	for i, c := range u.changes {
		if c.arrival <= d.base || c.session == d.session {
			continue
		}
		v := u.views[c.peer]
		read := min(c.seq, v.readSeq)
		for _, later := range u.changes[i+1:] {
			if later.back && later.peer == c.peer { // an import may have moved the cursor on since, which tells nobody
				read = min(read, later.seq)
			}
		}
		switch {
		case c.kind == query.ChangeRead && (d.read[c.peer] < read || c.back && d.read[c.peer] > v.readSeq):
			w.failf("%s of %s: read cursor of u:%s = %d, want %d", d.name, d.user, c.peer, d.read[c.peer], v.readSeq)
		case c.kind == query.ChangeSettings && d.settings[c.peer] != v.settings():
			w.failf("%s of %s: settings of u:%s = %+v, does not know %+v", d.name, d.user, c.peer, d.settings[c.peer], v.settings())
		case c.kind == query.ChangeBlocked && d.blocked[c.peer] != slices.Contains(u.blocks, c.peer):
			w.failf("%s of %s does not know that %s is blocked: %v", d.name, d.user, c.peer, !d.blocked[c.peer])
		case c.kind == query.ChangeReceipt && d.receipts[c.peer] != v.receipt:
			w.failf("%s of %s: receipt of u:%s = %d, want %d", d.name, d.user, c.peer, d.receipts[c.peer], v.receipt)
		}
	}
	d.checkGroups(w, u)
	d.base = max(d.base, min(d.former, d.told))
}
