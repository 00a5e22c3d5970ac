package shard_test

import (
	"bytes"
	"slices"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// checkToken reports whether a user may have a session with a token of a time.
func (u *modelUser) checkToken(issued int64) command.Code {
	switch {
	case u.suspended:
		return command.CodeForbidden
	case issued/1000 < u.tokensFrom/1000:
		return command.CodeUnauthorized
	}
	return command.OK
}

// endSessions ends those sessions of a user that are not wanted any more.
func (m *model) endSessions(sh *modelShard, u *modelUser, result *command.Result, why func(*modelSession) string) {
	for _, s := range slices.Clone(u.sessions) {
		reason := why(s)
		if reason == "" {
			continue
		}
		u.sessions = slices.DeleteFunc(u.sessions, func(t *modelSession) bool { return t == s })
		result.Kicked = append(result.Kicked, command.Kick{User: u.id, Session: s.number, Reason: reason})
		u.lastSeen = sh.now
		m.touched[u.id] = true
	}
	m.kicked = append(m.kicked, result.Kicked...)
}

func (m *model) setUser(sh *modelShard, c *command.SetUser) (result command.Result) {
	u := m.user(c.User)
	u.evictToCutoff(sh)
	if c.HistoryTTL != nil {
		for _, v := range u.views {
			v.expireHead(&sh.limits, sh.now)
			for _, e := range v.held() {
				e.blurred = e.blurred || e.expired(&sh.limits, sh.now+2*readAhead)
			}
		}
		u.forgetOld(sh)
		u.historyTTL = c.HistoryTTL.Milliseconds()
		for _, v := range u.views {
			for _, e := range v.entries {
				e.historyTTL = u.historyTTL
			}
			v.expireHead(&sh.limits, sh.now)
		}
	}
	if c.Suspended != nil {
		u.suspended = *c.Suspended
	}
	if c.TokensFrom != nil {
		u.tokensFrom = *c.TokensFrom
	}
	m.endSessions(sh, u, &result, func(s *modelSession) string {
		return map[command.Code]string{command.CodeForbidden: "admin", command.CodeUnauthorized: "token"}[u.checkToken(s.issued)]
	})
	return result
}

func (m *model) refreshToken(sh *modelShard, c *command.RefreshToken) command.Result {
	u := m.user(c.User)
	s := u.session(c.Session)
	if s == nil {
		return refused(command.CodeNotFound)
	}
	if code := u.checkToken(c.IssuedAt); code != command.OK {
		return refused(code)
	}
	u.evictToCutoff(sh)
	s.issued = c.IssuedAt
	return command.Result{}
}

func (m *model) setRead(sh *modelShard, c *command.SetRead) command.Result {
	u := m.user(c.User)
	v := u.views[c.Peer]
	if v == nil || v.newest() == 0 {
		return refused(command.CodeNotFound)
	}
	seq := min(c.Seq, v.newest())
	switch {
	case v.peer == u.id:
	case seq > v.readSeq:
		m.moveRead(sh, u, v, seq, 0)
	case seq < v.readSeq:
		floor := uint64(0) // of what left the queue unread
		for _, e := range v.entries {
			if e.unqueued {
				floor = e.seq
			}
		}
		for _, e := range v.entries {
			e.unqueued = e.unqueued || e.seq <= floor
			e.lost = e.lost && e.seq > v.readSeq // a report that was made stays made
		}
		v.readSeq = seq
		u.change(modelChange{kind: query.ChangeRead, peer: v.peer, seq: seq, back: true})
		m.addHookChange(sh, u.id, query.Change{Kind: query.ChangeRead, Peer: v.peer, Seq: seq})
		m.touched[u.id] = true
		u.limitQueue(&sh.limits, sh.now)
		u.limitHistory(&sh.limits, sh.now)
	}
	return command.Result{Seq: v.readSeq, Unread: v.unread(&sh.limits, sh.now)}
}

func (m *model) eraseUser(sh *modelShard, c *command.EraseUser) (result command.Result) {
	u := m.user(c.User)
	result.Seq = m.adopt.next()
	if c.From == 0 {
		m.endSessions(sh, u, &result, func(*modelSession) string { return "admin" })
		u.lastSeen, u.hourStart, u.hourOpened, u.opened = 0, 0, 0, 0
		u.historyTTL, u.suspended, u.tokensFrom, u.erased = 0, false, 0, u.lastSession
		u.sent, u.fences = nil, nil
		for _, v := range u.views {
			for _, e := range v.entries {
				e.historyTTL = 0
			}
			v.expireHead(&sh.limits, sh.now)
			for _, e := range v.entries {
				e.cidForgotten = e.cidForgotten || e.gone != ""
			}
		}
	}
	first, end := max(int(c.From), 1)-1, len(u.peers)
	if result.Seq > 0 {
		end = int(result.Seq) - 1
	}
	for _, peer := range u.peers[first:end] {
		m.eraseView(sh, u, u.views[peer], u.views[peer].newest()+1)
	}
	if result.Seq > 0 {
		peer := u.peers[end]
		if held, ok := m.adopt.looksErased(u.id, peer); ok {
			m.eraseView(sh, u, u.views[peer], held)
		}
	} else {
		m.forgetIdle(u)
	}
	return result
}

// eraseView makes a stub of a view, but for what the state still holds of it.
// forgetOld forgets the cids of what is too old, for good.
func (u *modelUser) forgetOld(sh *modelShard) {
	for _, v := range u.views {
		for _, e := range v.entries {
			e.cidForgotten = e.cidForgotten || !e.known(sh)
		}
	}
}

func (m *model) eraseView(sh *modelShard, u *modelUser, v *modelView, held uint64) {
	for _, e := range v.entries[:held-1] {
		e.cidForgotten = true
		e.gone, e.peer = query.GapDeleted, 0 // nobody is told any more that it was read
	}
	for _, e := range v.entries[held-1:] {
		if e.gone != "" {
			e.gone = query.GapExpired // whatever it was besides is forgotten
		}
	}
	for _, e := range v.entries {
		e.recalled, e.deleted, e.imported = false, false, e.imported && e.seq >= held
	}
	timeless := v.timeless
	if held > v.newest() {
		timeless = v.newest()
	}
	v.readSeq, v.receipt, v.receipted, v.peerRead, v.unlistedTo, v.clearedTo = v.newest(), 0, 0, 0, 0, 0
	v.received = false
	v.muted, v.pinned, v.markedUnread, v.timeless, v.imported, v.sent = false, false, false, timeless, modelImport{}, false
	for _, c := range u.changes {
		if c.peer == v.peer {
			v.activity = max(v.activity, c.arrival)
		}
	}
	u.changes = slices.DeleteFunc(u.changes, func(c modelChange) bool { return c.peer == v.peer })
	if i, blocked := slices.BinarySearch(u.blocks, v.peer); blocked {
		u.blocks = slices.Delete(u.blocks, i, i+1)
		m.post(sh, command.Letter{From: u.id, To: v.peer, Kind: command.LetterUnblock, Time: sh.now})
	}
}

func (m *model) importRows(sh *modelShard, c *command.Import) command.Result {
	for i, row := range c.Rows {
		if row.Row == 0 || len(row.Body) == 0 || row.CID == "" || row.Time > sh.now ||
			i > 0 && (row.Row <= c.Rows[i-1].Row || row.Time < c.Rows[i-1].Time) {
			return refused(command.CodeBadRequest)
		}
	}
	u := m.user(c.User)
	u.evictToCutoff(sh)
	for _, v := range u.views {
		v.expireHead(&sh.limits, sh.now)
	}
	v := u.view(c.Peer)
	before := v.imported
	if before.stream != c.Stream {
		before = modelImport{}
	}
	rows := slices.DeleteFunc(slices.Clone(c.Rows), func(row command.ImportRow) bool { return row.Row <= before.row })
	last := uint64(0)
	if v.newest() > 0 {
		last = v.at(v.newest()).arrival
	}
	owned := last == before.arrival && before.row > 0
	switch {
	case len(rows) == 0:
		return command.Result{}
	case !owned && len(v.held()) > 0:
		return refused(command.CodeConflict)
	case c.Next > 0 && v.newest()+1 != c.Next+uint64(len(c.Rows)-len(rows)):
		return command.Result{Code: command.CodeGap, Seq: v.newest() + 1}
	case owned:
		if rows[0].Time < v.newestTime() {
			return refused(command.CodeBadRequest)
		}
	default:
		v.timeless = v.newest()
	}
	for _, row := range rows {
		e := &modelEntry{
			own: row.Own || v.peer == u.id, time: row.Time, ttl: row.TTL, id: row.ID, cid: row.CID,
			mentions: row.Mentions, body: bytes.Clone(row.Body), imported: true,
		}
		if !e.own {
			e.peer = row.Peer
		}
		if !c.Unread || v.peer == u.id {
			v.readSeq = v.newest() + 1
		}
		u.append(v, e)
		v.imported = modelImport{stream: c.Stream, row: row.Row, arrival: e.arrival}
	}
	u.cut(sh)
	u.evictToCutoff(sh)
	u.limitQueue(&sh.limits, sh.now)
	u.limitHistory(&sh.limits, sh.now)
	return command.Result{}
}
