package shard_test

import (
	"slices"
	"time"

	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// issuedAt is the time of a token that a device shows.
func (w *world) issuedAt() int64 {
	if w.chance(20) {
		return 0
	}
	return w.clock - int64(w.rng.IntN(60_000))
}

// disconnect ends the sessions that a result names.
func (w *world) disconnect(r *command.Result) {
	for _, k := range r.Kicked {
		if d := w.device(k.User, k.Session); d != nil {
			d.session = 0
		}
	}
}

func (w *world) setUser() {
	cmd := &command.SetUser{User: w.anyUser()}
	u := w.model.user(cmd.User)
	if w.chance(60) {
		cmd.HistoryTTL = new(time.Duration(w.rng.IntN(1200)) * time.Second)
		if w.chance(40) {
			*cmd.HistoryTTL = 0
		}
	}
	if u.suspended || w.chance(30) {
		cmd.Suspended = new(!u.suspended)
	}
	if w.chance(30) {
		cmd.TokensFrom = new(max(0, w.issuedAt()))
	}
	w.alone(cmd, w.disconnect)
}

func (w *world) refreshToken() {
	user := w.anyUser()
	w.send(&command.RefreshToken{User: user, Session: w.anySession(user), IssuedAt: w.issuedAt()}, nil)
}

func (w *world) setRead() {
	user, peer := w.anyUser(), w.anyUser()
	w.send(&command.SetRead{User: user, Peer: peer, Seq: w.someSeq(user, peer) - uint64(w.rng.IntN(2))}, nil)
}

// eraseUser erases a user, often in many steps, while their peers go on.
func (w *world) eraseUser() {
	user := w.anyUser()
	cmd := &command.EraseUser{User: user, MaxWork: 1 << 20}
	if w.chance(60) {
		cmd.MaxWork = uint32(w.rng.IntN(8))
	}
	for range 10_000 {
		code, next := command.CodeMoved, uint64(0)
		w.alone(cmd, func(r *command.Result) {
			code, next = r.Code, r.Seq
			w.disconnect(r)
		})
		if code == command.CodeMoved && cmd.From == 0 {
			return
		}
		w.clearDevices(user, code == command.OK && next == 0)
		if next == 0 {
			return // or left half-way, as when the administrator gives up
		}
		if next < uint64(cmd.From) {
			w.failf("EraseUser(%s) from %d goes on at %d", user, cmd.From, next)
		}
		cmd.From = uint32(next)
		if w.chance(20) {
			w.sendMessage()
		}
	}
	w.failf("EraseUser(%s) does not come to an end", user)
}

// clearDevices empties a user's devices, as applications do when the account
// is gone. They may keep their cursors, unless there are still messages before
// those.
func (w *world) clearDevices(user command.UserID, erased bool) {
	for _, d := range w.devices {
		if d.user == user {
			cursor, groups := d.cursor, d.groups
			d.forget()
			if d.cursor = cursor && erased && w.chance(50); d.cursor {
				d.groups = groups // they are not erased with the rest
			}
		}
	}
}

// A simStream is an import of rows between two users, from which commands take
// what comes next, or again.
type simStream struct {
	name uint64
	a, b command.UserID
	rows []command.ImportRow // Own: a sent it
}

// importSome begins an import, goes on with one or repeats it.
func (w *world) importSome() {
	if len(w.streams) == 0 || w.chance(20) {
		w.streams = append(w.streams, &simStream{name: 1 + w.rng.Uint64N(1<<40), a: w.anyUser(), b: w.anyUser()})
	}
	st := w.streams[max(0, len(w.streams)-1-w.rng.IntN(4))]
	w.bringUp(w.shardOf(st.a))
	w.bringUp(w.shardOf(st.b))
	if w.moving(st.a) || w.moving(st.b) || w.underWay(st.a, st.b) || w.underWay(st.b, st.a) {
		return
	}
	first := len(st.rows)
	if w.chance(15) {
		first = w.rng.IntN(len(st.rows) + 1)
	} else {
		w.addRows(st)
	}
	rows := st.rows[first:]
	unread := w.chance(40)
	mine, theirs := w.planImport(st.a, st.b, st.name, rows), w.planImport(st.b, st.a, st.name, rows)
	if !(mine.open && theirs.open) && w.chance(70) {
		return
	}
	if mine.open && !theirs.open || theirs.open && !mine.open {
		mine.closed, theirs.closed = mine.open, theirs.open // only who refuses is asked
	}
	if !mine.closed {
		w.importInto(st.a, st.b, st.name, unread, rows, mine, theirs, true)
	}
	if st.a != st.b && !theirs.closed {
		w.importInto(st.b, st.a, st.name, unread, rows, theirs, mine, false)
	}
}

// bringUp executes what waits at a shard, and has its time be the present: what is
// planned now is not to expire before it is done.
func (w *world) bringUp(sh *simShard) {
	w.flush(sh)
	for sh.leader.Now() < w.clock+sh.skew {
		w.order(sh.index, &command.TrimOutbox{From: w.users[0], To: "nobody", UpTo: 1}, nil)
		w.flush(sh)
	}
}

// underWay reports whether letters of one user have not come to the other yet.
func (w *world) underWay(from, to command.UserID) bool {
	return w.model.user(from).outbox(to).last != w.model.user(to).in[from]
}

// addRows makes up what comes next in a stream.
func (w *world) addRows(st *simStream) {
	now := min(w.shardOf(st.a).leader.Now(), w.shardOf(st.b).leader.Now())
	at := now - int64(w.rng.IntN(400_000))
	number := uint64(0)
	if n := len(st.rows); n > 0 {
		at, number = max(at, st.rows[n-1].Time), st.rows[n-1].Row
	}
	for range 1 + w.rng.IntN(6) {
		number += 1 + w.rng.Uint64N(3)
		row := command.ImportRow{Row: number, Own: w.chance(50), Time: at, ID: w.id(), CID: "import", Body: w.body()}
		if w.chance(15) {
			row.TTL = uint32(1 + w.rng.IntN(600))
		}
		if w.chance(5) {
			row.Mentions = []string{"everybody"}
		}
		st.rows = append(st.rows, row)
		if at += int64(w.rng.IntN(20_000)); at > now {
			return
		}
	}
}

// An importPlan says what becomes of rows in one view.
type importPlan struct {
	open   bool
	closed bool              // to this import
	known  uint64            // rows up to this came before
	next   uint64            // seq of the first that will be stored
	seqs   map[uint64]uint64 // by row; of those that the view has, or will
	now    int64
}

// planImport finds that out as raftstore does.
func (w *world) planImport(user, peer command.UserID, stream uint64, rows []command.ImportRow) importPlan {
	state := w.shardOf(user).leader
	now := state.Now()
	status := state.ImportStatus(user, peer, stream, now)
	plan := importPlan{open: status.AcceptsRows, known: status.Row, next: status.Next, seqs: map[uint64]uint64{}, now: now}
	for _, row := range rows {
		switch {
		case row.Row <= status.Row:
			plan.seqs[row.Row] = state.SeqOf(user, peer, row.ID)
		case row.Time+status.HistoryTTL.Milliseconds() <= now, row.TTL != 0 && row.Time+int64(row.TTL)*1000 <= now, row.Time <= status.Cutoff:
		default:
			plan.seqs[row.Row] = status.Next
			status.Next++
		}
	}
	return plan
}

// importInto imports into one view, the sender's own rows being those that first
// says. Rows that came before come again.
func (w *world) importInto(user, peer command.UserID, stream uint64, unread bool, rows []command.ImportRow, mine, theirs importPlan, first bool) {
	cmd := &command.Import{User: user, Peer: peer, Stream: stream, Unread: unread}
	stored, known := 0, uint64(0)
	for _, row := range rows {
		if row.Row > mine.known {
			if mine.seqs[row.Row] == 0 {
				continue // expired
			}
			stored++
		} else {
			known++
		}
		if row.Own = row.Own == first; !row.Own {
			row.Peer = theirs.seqs[row.Row]
		}
		cmd.Rows = append(cmd.Rows, row)
	}
	if len(cmd.Rows) == 0 {
		return
	}
	if mine.next > known {
		cmd.Next = mine.next - known
	}
	if w.chance(5) { // planned by who knows less, or more
		bad := *cmd
		bad.Next = 1 + w.rng.Uint64N(mine.next+3)
		if bad.Next != cmd.Next {
			w.alone(&bad, func(r *command.Result) {
				if r.Code == command.OK && stored > 0 {
					w.failf("an import of %s planned for seq %d was taken at %d", user, bad.Next, cmd.Next)
				}
			})
		}
	}
	if w.chance(3) { // what no import can take
		bad := *cmd
		bad.Rows = slices.Clone(cmd.Rows)
		switch row := &bad.Rows[w.rng.IntN(len(bad.Rows))]; w.rng.IntN(3) {
		case 0:
			row.Time = mine.now + 1_000_000
		case 1:
			row.Row = 0
		default:
			row.Body = nil
		}
		w.alone(&bad, nil)
	}
	w.alone(cmd, func(r *command.Result) {
		if r.Code == command.OK {
			w.imported[[2]command.UserID{user, peer}] += stored
		}
	})
}

// checkAdmin compares what administrators can see of a user.
func (w *world) checkAdmin(state *shard.State, u *modelUser, l *command.Limits, now int64) {
	info, known := state.User(u.id, now)
	if !known {
		if u.arrival > 1 || u.lastSession > 0 {
			w.failf("User(%s): not known", u.id)
		}
		return
	}
	queue := u.queue(l, now)
	size := 0
	var counts []query.UnreadCount
	var bytes int
	for _, peer := range slices.Sorted(slices.Values(u.peers)) {
		v := u.views[peer]
		var seqs []uint64
		for _, e := range v.held() {
			if e.gap(l, now) == "" {
				bytes += e.size
			}
			if v.queued(e, l, now) {
				seqs = append(seqs, e.seq)
				size += e.size
			}
		}
		if got := state.UnreadSeqs(u.id, peer, now); !slices.Equal(got, seqs) {
			w.failf("UnreadSeqs(%s, %s) = %v, want %v", u.id, peer, got, seqs)
		}
		if len(seqs) > 0 {
			counts = append(counts, query.UnreadCount{Peer: peer, Unread: len(seqs)})
		}
	}
	if got := state.Unread(u.id, now); !slices.Equal(got, counts) {
		w.failf("Unread(%s) = %v, want %v", u.id, got, counts)
	}
	settings := command.UserSettings{
		HistoryTTL: time.Duration(u.historyTTL) * time.Millisecond, Suspended: u.suspended, TokensFrom: u.tokensFrom,
	}
	if info.Settings != settings {
		w.failf("User(%s): settings %+v, want %+v", u.id, info.Settings, settings)
	}
	// What has expired leaves the logs when the state finds the time.
	if info.Queued != len(queue) || info.QueuedBytes != size || info.Unread != len(queue) || info.Bytes < bytes ||
		len(info.Sessions) != len(u.sessions) || info.LastSeen != u.lastSeen || info.Blocked != len(u.blocks) ||
		info.Exists != (u.lastSession > u.erased) {
		w.failf("User(%s) = %+v, want %d queued of %d bytes, at least %d bytes, %d sessions, last seen %d, %d blocked",
			u.id, info, len(queue), size, bytes, len(u.sessions), u.lastSeen, len(u.blocks))
	}
}
