package shard

import (
	"cmp"
	"slices"
	"time"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
	"github.com/belfry-im/belfry/shard/ring"
)

// An importRecord says what was imported into a conversation. It is kept forever, so
// that a repeated import changes nothing.
type importRecord struct {
	conv    uint32 // index of the conversation
	stream  uint64 // hash of the stream's name
	row     uint64 // number of the last row that was imported
	seq     uint64 // seq of that row's entry
	arrival uint64 // arrival number of that row's entry
}

// findImport returns the index of conversation i's import record, or the index at which
// it would be, and whether there is one.
func (u *user) findImport(i int) (int, bool) {
	return slices.BinarySearchFunc(u.imports.items, uint32(i), func(rec importRecord, i uint32) int { return cmp.Compare(rec.conv, i) })
}

// importOf returns the import record of conversation i, or a zero one if there is none.
func (u *user) importOf(i int) importRecord {
	if u.convs.items[i].flags&convImported == 0 {
		return importRecord{}
	}
	at, _ := u.findImport(i)
	return u.imports.items[at]
}

// setImport adds or replaces the import record of conversation i.
func (s *State) setImport(u *user, i int, rec importRecord) {
	at, found := u.findImport(i)
	if !found {
		s.holdFor(u)
		u.imports.add(s.arena, importRecord{})
		copy(u.imports.items[at+1:], u.imports.items[at:])
		u.convs.items[i].flags |= convImported
	}
	rec.conv = uint32(i)
	u.imports.items[at] = rec
}

// forgetImport removes the import record of conversation i.
func (s *State) forgetImport(u *user, i int) {
	if u.convs.items[i].flags&convImported == 0 {
		return
	}
	u.convs.items[i].flags &^= convImported
	at, _ := u.findImport(i)
	s.holdFor(u)
	if u.imports.items = slices.Delete(u.imports.items, at, at+1); len(u.imports.items) == 0 {
		u.imports.free(s.arena)
	}
}

// checkRows reports whether rows are valid, whatever conversation they go to. If not, r
// has the refusal.
func (s *State) checkRows(rows []command.ImportRow, r *command.Result) bool {
	if len(rows) == 0 {
		*r = command.Result{Code: command.CodeBadRequest, Detail: "rows: must not be empty"}
		return false
	}
	for i := range rows {
		row := &rows[i]
		switch {
		case row.Row == 0 || i > 0 && row.Row <= rows[i-1].Row:
			*r = command.Result{Code: command.CodeBadRequest, Seq: row.Row, Detail: "row: must rise"}
		case len(row.Body) == 0 || row.CID == "":
			*r = command.Result{Code: command.CodeBadRequest, Seq: row.Row, Detail: "body: must not be empty, nor may cid"}
		case i > 0 && row.Time < rows[i-1].Time:
			*r = command.Result{Code: command.CodeBadRequest, Seq: row.Row, Detail: "time: must not fall within a conversation"}
		case row.Time < 0 || row.Time > s.now:
			*r = command.Result{Code: command.CodeBadRequest, Seq: row.Row, Detail: "time: must not be in the future"}
		default:
			continue
		}
		return false
	}
	return true
}

func (s *State) applyImport(c *command.Import, r *command.Result) {
	sl := s.slotFor(c.User)
	if sl == nil {
		r.Code = command.CodeMoved
		return
	}
	if c.User == "" || c.Peer == "" {
		*r = command.Result{Code: command.CodeBadRequest, Detail: "conv: both users must be named"}
		return
	}
	if !s.checkRows(c.Rows, r) {
		return
	}
	u := s.userMut(sl, c.User, true)
	s.purgeDue(u)
	i := s.findConv(u, c.Peer)
	if i < 0 {
		i = s.openConv(u, c.Peer)
	}
	rows := s.rowsToImport(u, i, c.Stream, c.Next, c.Rows, r)
	if len(rows) == 0 {
		return
	}
	s.importRows(u, i, c.Stream, rows, func(e *ring.Entry, row *command.ImportRow) (read bool) {
		if row.Own || c.Peer == c.User {
			e.Flags = ring.Own
		} else {
			e.Peer = row.Peer
		}
		return !c.Unread || c.Peer == c.User
	})
}

func (s *State) applyImportGroup(c *command.ImportGroup, r *command.Result) {
	u := s.groupFor(c.Group, r)
	if u == nil {
		return
	}
	g := u.group
	if !g.settings.StoresMessages {
		*r = command.Result{Code: command.CodeBadRequest, Detail: "group: a live group stores no messages"}
		return
	}
	if !s.checkRows(c.Rows, r) {
		return
	}
	for i := range c.Rows {
		if c.Rows[i].From == "" {
			*r = command.Result{Code: command.CodeBadRequest, Seq: c.Rows[i].Row, Detail: "from: must not be empty"}
			return
		}
	}
	s.purgeDue(u)
	rows := s.rowsToImport(u, 0, c.Stream, c.Next, c.Rows, r)
	if len(rows) == 0 {
		return
	}
	s.importRows(u, 0, c.Stream, rows, func(e *ring.Entry, row *command.ImportRow) (read bool) {
		e.Flags, e.From = ring.Own, []byte(row.From)
		return false // members have cursors of their own
	})
	if c.Unread {
		for i := range rows {
			if m := s.member(g, rows[i].From); m != nil {
				m.flags |= memberRewound
			}
		}
		return
	}
	newest := u.convs.items[0].log.Next() - 1
	for i := range g.members.items {
		if m := &g.members.items[i]; m.read < newest {
			m.read = newest
			m.flags &^= memberRewound
		}
	}
}

// rowsToImport returns those of rows that were not imported into a conversation before.
// If the conversation has messages that the stream did not bring, or the first of all rows
// was planned for another seq than next, it returns none and r has the refusal.
func (s *State) rowsToImport(u *user, i int, stream, next uint64, rows []command.ImportRow, r *command.Result) []command.ImportRow {
	c, rec := &u.convs.items[i], u.importOf(i)
	empty := c.log.Len() == 0
	if rec.stream != stream {
		rec = importRecord{}
	}
	known := 0
	for known < len(rows) && rows[known].Row <= rec.row {
		known++
	}
	rows = rows[known:]
	switch {
	case len(rows) == 0:
		return nil
	case !empty && rec.arrival != c.lastArrival:
		*r = command.Result{Code: command.CodeConflict, Seq: rows[0].Row, Detail: "conv: holds messages that were not imported by this stream"}
		return nil
	case next != 0 && c.log.Next() != next+uint64(known):
		*r = command.Result{Code: command.CodeGap, Seq: c.log.Next(), Detail: "next: the conversation has changed since the import was planned"}
		return nil
	case rec.arrival != c.lastArrival: // the log is empty, so rows may be older than its last entry was
		c.lastTime = 0
	case rows[0].Time < c.lastTime:
		*r = command.Result{Code: command.CodeBadRequest, Seq: rows[0].Row, Detail: "time: must not fall within a conversation"}
		return nil
	}
	return rows
}

// importRows appends rows to a log. For each row it calls fill, which completes the
// entry and reports whether it counts as read.
func (s *State) importRows(u *user, i int, stream uint64, rows []command.ImportRow, fill func(*ring.Entry, *command.ImportRow) (read bool)) {
	c, oldest := &u.convs.items[i], u.oldest
	read := c.read
	var e ring.Entry
	for j := range rows {
		row := &rows[j]
		e = ring.Entry{
			Time: row.Time, TTL: row.TTL, ID: row.ID,
			CID: []byte(row.CID), Mentions: appendMentionList(nil, row.Mentions), Body: row.Body,
		}
		if fill(&e, row) {
			c.read = c.log.Next()
		}
		s.appendToLog(u, i, &e)
	}
	if c.read > read && c.queued > 0 {
		s.recountQueue(u, c)
	}
	s.forgetLost(u, c, c.read)
	s.setImport(u, i, importRecord{stream: stream, row: rows[len(rows)-1].Row, seq: e.Seq, arrival: e.Arrival})
	if rows[0].Time <= s.cutoff {
		s.evictConvToCutoff(u, c)
		if u.oldest = oldest; c.log.Header(s.arena, c.log.First(), &e) > 0 {
			u.oldest = min(oldest, e.Time)
		}
	}
	s.enforceLimits(u)
}

// ImportStatus returns what an importer of a stream has to know about a conversation.
func (s *State) ImportStatus(name, peer command.UserID, stream uint64, now int64) query.ImportStatus {
	u := s.lookup(name)
	if u == nil {
		return query.ImportStatus{AcceptsRows: true, Next: 1, HistoryTTL: s.limits.HistoryTTL, Cutoff: s.cutoff}
	}
	return s.importStatus(u, s.findConv(u, peer), stream, now)
}

// ImportGroupStatus is ImportStatus for a group. The code is CodeNotFound if there is
// no such group, and CodeBadRequest if it stores no messages.
func (s *State) ImportGroupStatus(id command.GroupID, stream uint64, now int64) (query.ImportStatus, command.Code) {
	u := s.group(id)
	switch {
	case u == nil:
		return query.ImportStatus{}, command.CodeNotFound
	case !u.group.settings.StoresMessages:
		return query.ImportStatus{}, command.CodeBadRequest
	}
	return s.importStatus(u, 0, stream, now), command.OK
}

func (s *State) importStatus(u *user, i int, stream uint64, now int64) query.ImportStatus {
	status := query.ImportStatus{AcceptsRows: true, Next: 1, HistoryTTL: time.Duration(s.historyTTL(u)) * time.Millisecond, Cutoff: s.cutoff}
	if i < 0 {
		return status
	}
	c, rec := &u.convs.items[i], u.importOf(i)
	status.Next = c.log.Next()
	if rec.stream == stream {
		status.Row = rec.row
		if rec.row > 0 && rec.arrival == c.lastArrival {
			status.LastTime = c.lastTime
			return status
		}
	}
	status.AcceptsRows = !s.holdsUnexpired(u, c, now)
	return status
}

// holdsUnexpired reports whether a log has an entry that has not expired and is above
// the cutoff.
func (s *State) holdsUnexpired(u *user, c *conv, now int64) bool {
	var e ring.Entry
	for cur := c.log.Descend(s.arena, c.log.Next()); cur.Next(&e); {
		if !s.expired(u, &e, now) && e.Time > s.cutoff {
			return true
		}
	}
	return false
}

// SeqOf returns the seq of the message with an id in a user's view, or 0 if the log
// does not hold it.
func (s *State) SeqOf(name, peer command.UserID, id command.MsgID) uint64 {
	u := s.lookup(name)
	if u == nil {
		return 0
	}
	i := s.findConv(u, peer)
	if i < 0 {
		return 0
	}
	var e ring.Entry
	log := &u.convs.items[i].log
	for cur := log.Descend(s.arena, log.Next()); cur.Next(&e); {
		if e.ID == id {
			return e.Seq
		}
	}
	return 0
}
