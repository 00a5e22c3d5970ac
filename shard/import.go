package shard

import (
	"cmp"
	"slices"
	"time"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
	"github.com/belfry-im/belfry/shard/ring"
)

// An importMark says what was imported into a conversation. It stays, so that a
// repeat of that changes nothing.
type importMark struct {
	conv    uint32 // its index
	stream  uint64
	row     uint64 // of the stream, the last one that came
	seq     uint64 // of that row
	arrival uint64
}

func (u *user) findImport(i int) (int, bool) {
	return slices.BinarySearchFunc(u.imports.items, uint32(i), func(m importMark, i uint32) int { return cmp.Compare(m.conv, i) })
}

// imported gives the mark of a conversation, a zero one when there is none.
func (u *user) imported(i int) importMark {
	if u.convs.items[i].flags&convImported == 0 {
		return importMark{}
	}
	at, _ := u.findImport(i)
	return u.imports.items[at]
}

func (s *State) markImported(u *user, i int, m importMark) {
	at, found := u.findImport(i)
	if !found {
		s.frees(u)
		u.imports.add(s.arena, importMark{})
		copy(u.imports.items[at+1:], u.imports.items[at:])
		u.convs.items[i].flags |= convImported
	}
	m.conv = uint32(i)
	u.imports.items[at] = m
}

func (s *State) forgetImport(u *user, i int) {
	if u.convs.items[i].flags&convImported == 0 {
		return
	}
	u.convs.items[i].flags &^= convImported
	at, _ := u.findImport(i)
	s.frees(u)
	if u.imports.items = slices.Delete(u.imports.items, at, at+1); len(u.imports.items) == 0 {
		u.imports.free(s.arena)
	}
}

// checkImport refuses rows that cannot be imported anywhere.
func (s *State) checkImport(rows []command.ImportRow, r *command.Result) bool {
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
	if !s.checkImport(c.Rows, r) {
		return
	}
	u := s.mutate(sl, c.User, true)
	s.purgeDue(u)
	i := s.find(u, c.Peer)
	if i < 0 {
		i = s.open(u, c.Peer)
	}
	rows := s.newRows(u, i, c.Stream, c.Rows, r)
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
	t := u.team
	if !t.settings.Stored {
		*r = command.Result{Code: command.CodeBadRequest, Detail: "group: a live group stores no messages"}
		return
	}
	if !s.checkImport(c.Rows, r) {
		return
	}
	for i := range c.Rows {
		if c.Rows[i].From == "" {
			*r = command.Result{Code: command.CodeBadRequest, Seq: c.Rows[i].Row, Detail: "from: must not be empty"}
			return
		}
	}
	s.purgeDue(u)
	rows := s.newRows(u, 0, c.Stream, c.Rows, r)
	if len(rows) == 0 {
		return
	}
	s.importRows(u, 0, c.Stream, rows, func(e *ring.Entry, row *command.ImportRow) (read bool) {
		e.Flags, e.From = ring.Own, []byte(row.From)
		return false // members have cursors of their own
	})
	if c.Unread {
		for i := range rows {
			if m := s.member(t, rows[i].From); m != nil {
				m.flags |= memberRewound
			}
		}
		return
	}
	newest := u.convs.items[0].log.Next() - 1
	for i := range t.members.items {
		if m := &t.members.items[i]; m.read < newest {
			m.read = newest
			m.flags &^= memberRewound
		}
	}
}

// newRows leaves out the rows that a conversation has had already, and refuses
// the others if it holds what did not come by the stream.
func (s *State) newRows(u *user, i int, stream uint64, rows []command.ImportRow, r *command.Result) []command.ImportRow {
	c, m := &u.convs.items[i], u.imported(i)
	empty := c.log.Len() == 0
	if m.stream != stream {
		m = importMark{}
	}
	known := 0
	for known < len(rows) && rows[known].Row <= m.row {
		known++
	}
	rows = rows[known:]
	switch {
	case len(rows) == 0:
		return nil
	case !empty && m.arrival != c.lastArrival:
		*r = command.Result{Code: command.CodeConflict, Seq: rows[0].Row, Detail: "conv: holds messages that were not imported by this stream"}
		return nil
	case m.arrival != c.lastArrival: // what was there is gone, and so is its time
		c.lastTime = 0
	case rows[0].Time < c.lastTime:
		*r = command.Result{Code: command.CodeBadRequest, Seq: rows[0].Row, Detail: "time: must not fall within a conversation"}
		return nil
	}
	return rows
}

// importRows adds rows to a log. fill completes an entry and tells whether it
// counts as read.
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
		s.keep(u, i, &e)
	}
	if c.read > read && c.queued > 0 {
		s.recount(u, c)
	}
	s.forgetLost(u, c, c.read)
	s.markImported(u, i, importMark{stream: stream, row: rows[len(rows)-1].Row, seq: e.Seq, arrival: e.Arrival})
	if rows[0].Time <= s.cutoff {
		s.evictCutOf(u, c)
		if u.oldest = oldest; c.log.Header(s.arena, c.log.First(), &e) > 0 {
			u.oldest = min(oldest, e.Time)
		}
	}
	s.enforce(u)
}

// ImportView tells how an import of a stream finds a conversation.
func (s *State) ImportView(name, peer command.UserID, stream uint64, now int64) query.ImportView {
	u := s.lookup(name)
	if u == nil {
		return query.ImportView{Open: true, Next: 1, Keep: s.limits.HistoryTTL, Cutoff: s.cutoff}
	}
	return s.importView(u, s.find(u, peer), stream, now)
}

// ImportGroupView tells how an import finds a group's log. CodeNotFound: there is
// no such group; CodeBadRequest: it stores no messages.
func (s *State) ImportGroupView(id command.GroupID, stream uint64, now int64) (query.ImportView, command.Code) {
	u := s.group(id)
	switch {
	case u == nil:
		return query.ImportView{}, command.CodeNotFound
	case !u.team.settings.Stored:
		return query.ImportView{}, command.CodeBadRequest
	}
	return s.importView(u, 0, stream, now), command.OK
}

func (s *State) importView(u *user, i int, stream uint64, now int64) query.ImportView {
	v := query.ImportView{Open: true, Next: 1, Keep: time.Duration(s.historyTTL(u)) * time.Millisecond, Cutoff: s.cutoff}
	if i < 0 {
		return v
	}
	c, m := &u.convs.items[i], u.imported(i)
	v.Next = c.log.Next()
	if m.stream == stream {
		v.Row = m.row
		if m.row > 0 && m.arrival == c.lastArrival {
			v.LastTime = c.lastTime
			return v
		}
	}
	v.Open = !s.holds(u, c, now)
	return v
}

// holds tells whether a log has an entry that has not expired.
func (s *State) holds(u *user, c *conv, now int64) bool {
	var e ring.Entry
	for cur := c.log.Descend(s.arena, c.log.Next()); cur.Next(&e); {
		if !s.expired(u, &e, now) && e.Time > s.cutoff {
			return true
		}
	}
	return false
}

// SeqOf finds a message by its id; 0: the conversation does not hold it.
func (s *State) SeqOf(name, peer command.UserID, id command.MsgID) uint64 {
	u := s.lookup(name)
	if u == nil {
		return 0
	}
	i := s.find(u, peer)
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
