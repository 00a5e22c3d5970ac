package shard_test

import (
	"slices"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// keptResults is how many answers of a session a repeat of a request can get.
const keptResults = 16

// apply executes one command in a shard and gives the result it must have.
// Of a refusal only the code counts.
func (m *model) apply(sh *modelShard, cmd command.Command) command.Result {
	switch c := cmd.(type) {
	case *command.Configure:
		if c.Version > sh.version {
			sh.version, sh.limits = c.Version, c.Limits.WithDefaults()
			sh.hooks.configure(c.HookBytes)
		}
		return command.Result{}
	case *command.TrimHookQueue:
		sh.hooks.done(c.UpTo)
		return command.Result{}
	case *command.Checksum:
		return command.Result{}
	case *command.OpenSlots:
		for _, r := range c.Slots {
			if r.First > r.Last {
				return refused(command.CodeBadRequest)
			}
		}
		if c.Epoch <= sh.mapEpoch {
			return command.Result{}
		}
		sh.mapEpoch = c.Epoch
		for _, r := range c.Slots {
			for slot := int(r.First); slot <= int(r.Last); slot++ {
				if sh.slots[slot] == slotAbsent {
					sh.slots[slot] = slotOwned
				}
			}
		}
		return command.Result{}
	case *command.PurgeExpired:
		for _, id := range m.names() {
			u := m.users[id]
			slot := command.SlotOf(string(id))
			if slot < c.FirstSlot || slot > c.LastSlot || !m.serves(sh, id) {
				continue
			}
			for _, peer := range u.peers {
				u.views[peer].expireHead(&sh.limits, sh.now)
			}
			u.forgetGroups(sh.now)
			m.forgetIdle(u)
		}
		for _, id := range m.groupIDs() {
			if slot := command.SlotOf(string(id.Key())); slot >= c.FirstSlot && slot <= c.LastSlot && m.serves(sh, id.Key()) {
				m.groups[id].expire(sh)
			}
		}
		return command.Result{}
	}
	if r, ok := m.applyMove(sh, cmd); ok {
		return r
	}
	if c, ok := cmd.(*command.RaiseCutoff); ok {
		return m.raiseCutoff(sh, c)
	}
	if malformed(cmd) {
		return refused(command.CodeBadRequest)
	}
	if !m.serves(sh, command.UserID(cmd.Key())) {
		return command.Result{Code: command.CodeMoved}
	}
	if c, ok := cmd.(command.GroupCommand); ok {
		return m.applyGroup(sh, c)
	}
	if c, ok := cmd.(*command.TrimOutbox); ok {
		if g := m.groupOf(c.From); g != nil {
			g.trim(sh, c)
			return command.Result{}
		}
	}
	if evicts(cmd) {
		m.user(command.UserID(cmd.Key())).evictToCutoff(sh)
	}
	switch c := cmd.(type) {
	case *command.Login:
		return m.login(sh, c)
	case *command.Logout:
		return m.logout(sh, c)
	case *command.Send:
		return m.send(sh, c)
	case *command.Deliver:
		return m.deliver(sh, c)
	case *command.TrimOutbox:
		box := m.user(c.From).outbox(c.To)
		box.waiting = slices.DeleteFunc(box.waiting, func(l command.Letter) bool { return l.Number <= c.UpTo })
		return command.Result{}
	case *command.ReadReport:
		return m.once(c.User, c.Session, c.Request, func(u *modelUser) command.Result { return m.readReport(sh, u, c) })
	case *command.Recall:
		return m.once(c.User, c.Session, c.Request, func(u *modelUser) command.Result { return m.recall(sh, u, c) })
	case *command.DeleteMessages:
		return m.once(c.User, c.Session, c.Request, func(u *modelUser) command.Result { return m.deleteMessages(sh, u, c) })
	case *command.DeleteConversation:
		return m.once(c.User, c.Session, c.Request, func(u *modelUser) command.Result { return m.deleteConversation(sh, u, c) })
	case *command.SetConversation:
		return m.once(c.User, c.Session, c.Request, func(u *modelUser) command.Result { return m.setConversation(u, c) })
	case *command.SetUser:
		return m.setUser(sh, c)
	case *command.RefreshToken:
		return m.refreshToken(sh, c)
	case *command.SetRead:
		return m.setRead(sh, c)
	case *command.EraseUser:
		return m.eraseUser(sh, c)
	case *command.Import:
		return m.importRows(sh, c)
	case *command.Block:
		return m.once(c.User, c.Session, c.Request, func(u *modelUser) command.Result { return m.block(sh, u, c) })
	}
	panic("model: unknown command")
}

// names lists all users in one order.
// forgetIdle forgets a user of whom nothing is kept.
func (m *model) forgetIdle(u *modelUser) {
	if u.idle() {
		delete(m.users, u.id)
	}
}

func (u *modelUser) idle() bool {
	return u.lastSession == 0 && len(u.views)+len(u.groups) == 0 && u.historyTTL == 0 && !u.suspended && u.tokensFrom == 0
}

func (m *model) names() []command.UserID {
	names := make([]command.UserID, 0, len(m.users))
	for id := range m.users {
		names = append(names, id)
	}
	slices.Sort(names)
	return names
}

// once answers a repeated request with its first result.
func (m *model) once(user command.UserID, number command.SessionID, r command.Request, do func(*modelUser) command.Result) command.Result {
	u := m.user(user)
	s := u.session(number)
	if s == nil || r == (command.Request{}) {
		return do(u)
	}
	for _, kept := range s.results {
		if kept.request == r {
			return kept.result
		}
	}
	result := do(u)
	if result.Code != command.OK {
		return result
	}
	s.results = slices.DeleteFunc(s.results, func(kept modelResult) bool { return kept.request.ID == r.ID })
	s.results = append(s.results, modelResult{r, result})
	if len(s.results) > keptResults {
		s.results = s.results[1:]
	}
	return result
}

func refused(code command.Code) command.Result { return command.Result{Code: code} }

func (m *model) login(sh *modelShard, c *command.Login) command.Result {
	if c.User == "" || c.Device == "" {
		return refused(command.CodeBadRequest)
	}
	u := m.user(c.User)
	if code := u.checkToken(c.IssuedAt); code != command.OK {
		return refused(code)
	}
	u.evictToCutoff(sh)
	u.loggedIn = true
	u.lastSession++
	result := command.Result{Session: u.lastSession}
	end := func(s *modelSession, reason string) {
		u.sessions = slices.DeleteFunc(u.sessions, func(t *modelSession) bool { return t == s })
		result.Kicked = append(result.Kicked, command.Kick{User: u.id, Session: s.number, Reason: reason})
	}
	for _, s := range slices.Clone(u.sessions) {
		switch {
		case s.device == c.Device:
			end(s, "sameDevice")
		case c.Policy == command.PolicySingle, c.Policy == command.PolicyPlatform && s.platform == c.Platform:
			end(s, "policy")
		}
	}
	for len(u.sessions) >= sh.limits.MaxDevices {
		end(u.sessions[0], "policy")
	}
	u.sessions = append(u.sessions, &modelSession{
		number: u.lastSession, device: c.Device, platform: c.Platform, autoRead: c.AutoRead, issued: c.IssuedAt,
	})
	u.lastSeen = sh.now
	m.kicked = append(m.kicked, result.Kicked...)
	m.touched[u.id] = true
	if !c.HasCursor {
		return result
	}
	point, ok := m.cursors[c.Cursor]
	if !ok || point.user != u.id || point.arrival > u.arrival {
		result.Reset = true
		return result
	}
	since := point.arrival
	result.CursorArrival = since
	if c.AutoRead {
		for _, peer := range u.peers {
			m.readThrough(sh, u, u.views[peer], since)
		}
	}
	return result
}

// markReadThrough moves a read cursor over what arrived up to since. Where the log
// no longer holds that, the state may know less.
func (m *model) readThrough(sh *modelShard, u *modelUser, v *modelView, since uint64) {
	var least, most uint64
	if n := slices.IndexFunc(v.entries, func(e *modelEntry) bool { return e.arrival > since }); n != 0 {
		if n < 0 {
			n = len(v.entries)
		}
		if n > 0 && v.entries[n-1].imported {
			return // that was never pushed
		}
	}
	for _, e := range v.entries {
		if e.arrival > since {
			break
		}
		most = e.seq
		if e.gone == "" && !e.expired(&sh.limits, sh.now) {
			least = e.seq
		}
	}
	most = max(most, v.readSeq)
	if least = max(least, v.readSeq); least < most {
		if chosen := m.adopt.readSeq(u.id, v.peer); chosen >= least && chosen <= most {
			most = chosen
		}
	}
	m.moveRead(sh, u, v, most, u.lastSession)
}

// seen notes a sign of life of a session; 0 is an administrator's.
func (u *modelUser) seen(session command.SessionID, now int64) {
	if session != 0 {
		u.lastSeen = now
	}
}

func (m *model) logout(sh *modelShard, c *command.Logout) command.Result {
	u := m.user(c.User)
	s := u.session(c.Session)
	if s == nil {
		return command.Result{}
	}
	u.sessions = slices.DeleteFunc(u.sessions, func(t *modelSession) bool { return t == s })
	u.lastSeen = max(u.lastSeen, min(c.LastSeen, sh.now))
	m.touched[u.id] = true
	return command.Result{}
}

func (m *model) send(sh *modelShard, c *command.Send) command.Result {
	if c.User == "" || c.To == "" || c.CID == "" || len(c.Body) == 0 {
		return refused(command.CodeBadRequest)
	}
	u := m.user(c.User)
	if first, lately := u.first(sh, c); first != nil {
		if differs(first.body, c.Body, first.original, c.Original, lately) {
			return refused(command.CodeConflict)
		}
		return command.Result{ID: first.id, Seq: first.seq, Time: first.time, Duplicate: true}
	}
	if fenced(u.fences, sh, c.User, c.Origin) {
		return refused(command.CodeOvertaken)
	}
	if u.blockedBy[c.To] {
		return refused(command.CodeForbidden)
	}
	if v := u.views[c.To]; c.Session != 0 && (v == nil || v.newest() == 0) {
		if code := u.mayOpen(sh); code != command.OK {
			return refused(code)
		}
	}
	v := u.view(c.To)
	e := &modelEntry{
		own: true, time: sh.now, session: c.Session, ttl: c.TTL, id: c.ID, cid: c.CID,
		mentions: slices.Clone(c.Mentions), body: slices.Clone(c.Body), original: c.Original,
	}
	u.append(v, e)
	u.seen(c.Session, sh.now)
	u.sent = append(u.sent, modelSent{to: c.To, cid: c.CID, at: sh.now, seq: e.seq})
	fence(&u.fences, sh, c.User, c.Origin)
	m.clearMarkedUnread(u, v)
	if c.To == c.User {
		v.readSeq = e.seq
	}
	m.touched[u.id] = true
	u.limitQueue(&sh.limits, sh.now)
	u.limitHistory(&sh.limits, sh.now)
	if c.To != c.User {
		m.post(sh, command.Letter{
			From: c.User, To: c.To, Kind: command.LetterMessage, Seq: e.seq, Time: e.time,
			ID: c.ID, CID: c.CID, TTL: c.TTL, Mentions: e.mentions, Body: e.body,
		})
	}
	return command.Result{ID: c.ID, Seq: e.seq, Time: e.time}
}

// mayOpenConversation counts a conversation that a user begins.
func (u *modelUser) mayOpen(sh *modelShard) command.Code {
	const hour = 3600 * 1000
	if sh.now-u.hourStart >= hour {
		u.hourStart, u.hourOpened = sh.now, 0
	}
	if u.hourOpened >= sh.limits.NewConversations {
		return command.CodeRateLimited
	}
	code := u.mayKeep(sh)
	if code == command.OK {
		u.hourOpened++
	}
	return code
}

// mayKeep counts what both sides keep something of: a conversation, a blocked stranger.
func (u *modelUser) mayKeep(sh *modelShard) command.Code {
	if u.opened >= sh.limits.MaxConversations {
		return command.CodeRateLimited
	}
	u.opened++
	return command.OK
}

// first finds the message that c repeats.
func (u *modelUser) first(sh *modelShard, c *command.Send) (e *modelEntry, lately bool) {
	v := u.views[c.To]
	if v == nil {
		return nil, false
	}
	for _, s := range slices.Backward(u.sent) {
		if s.to == c.To && s.cid == c.CID && s.at+sh.limits.DedupWindow.Milliseconds() > sh.now {
			return v.at(s.seq), true
		}
	}
	if c.Retry {
		for _, e := range slices.Backward(v.entries) {
			if e.cid == c.CID && e.known(sh) {
				return e, false
			}
		}
	}
	return nil, false
}

// differs reports whether a message is no repeat of the first with its cid. Of one that
// was replaced the clients' bodies are compared lately, and later none.
func differs(first, body []byte, firstOriginal, original uint64, lately bool) bool {
	if !lately {
		return original == 0 && string(first) != string(body)
	}
	if firstOriginal == 0 {
		firstOriginal = command.HashBody(first)
	}
	if original == 0 {
		original = command.HashBody(body)
	}
	return firstOriginal != original
}

func (m *model) deliver(sh *modelShard, c *command.Deliver) command.Result {
	if c.Letter.From == c.Letter.To {
		return refused(command.CodeBadRequest)
	}
	if c.Letter.Kind == command.LetterJoined || c.Letter.Kind == command.LetterLeft {
		m.applyMembershipLetter(sh, &c.Letter)
		return command.Result{}
	}
	u := m.user(c.Letter.To)
	switch last := u.in[c.Letter.From]; {
	case c.Letter.Number <= last:
		return command.Result{}
	case c.Letter.Number > last+1:
		return command.Result{Code: command.CodeGap, Seq: last + 1}
	}
	m.receive(sh, &c.Letter)
	return command.Result{}
}

func (m *model) moveRead(sh *modelShard, u *modelUser, v *modelView, seq uint64, by command.SessionID) {
	if seq <= v.readSeq {
		return
	}
	v.readSeq = seq
	u.change(modelChange{kind: query.ChangeRead, peer: v.peer, session: by, seq: seq})
	m.addHookChange(sh, u.id, query.Change{Kind: query.ChangeRead, Peer: v.peer, Seq: seq})
	m.touched[u.id] = true
}

// receipt tells the peer how far the user has read, in the peer's own seq. When
// the messages that the report names are gone, and others since, the state may
// not know it; then it must not claim more.
func (m *model) receipt(sh *modelShard, u *modelUser, v *modelView, seq uint64) {
	var upTo, newestGone uint64
	for _, e := range v.entries {
		if e.own {
			continue
		}
		if e.seq <= seq {
			upTo = max(upTo, e.peer)
		}
		if e.gone != "" || e.expired(&sh.limits, sh.now) {
			newestGone = max(newestGone, e.peer)
		}
	}
	if upTo < newestGone {
		if chosen := m.adopt.receipted(u.id, v.peer); chosen <= upTo {
			upTo = chosen
		}
	}
	if upTo <= v.receipted || slices.Contains(u.blocks, v.peer) {
		return
	}
	v.receipted = upTo
	m.post(sh, command.Letter{From: u.id, To: v.peer, Kind: command.LetterReceipt, Seq: upTo, Time: sh.now})
}

func (m *model) readReport(sh *modelShard, u *modelUser, c *command.ReadReport) command.Result {
	v := u.views[c.Peer]
	if v == nil || v.newest() == 0 {
		return refused(command.CodeNotFound)
	}
	u.seen(c.Session, sh.now)
	seq := min(c.Seq, v.newest())
	m.moveRead(sh, u, v, seq, c.Session)
	if !c.Auto {
		m.clearMarkedUnread(u, v)
		if v.peer != u.id {
			m.receipt(sh, u, v, seq)
		}
	}
	return command.Result{Unread: v.unread(&sh.limits, sh.now)}
}

func (m *model) recall(sh *modelShard, u *modelUser, c *command.Recall) command.Result {
	v := u.views[c.Peer]
	if v == nil {
		return refused(command.CodeNotFound)
	}
	e := v.at(c.Seq)
	switch {
	case e != nil && e.own && e.recalled:
		return command.Result{}
	case e == nil, e.gone != "", e.expired(&sh.limits, sh.now):
		return refused(command.CodeNotFound)
	case !e.own:
		return refused(command.CodeForbidden)
	case e.time+sh.limits.RecallWindow.Milliseconds() < sh.now:
		return refused(command.CodeTooLate)
	}
	e.recalled = true
	u.change(modelChange{kind: query.ChangeRecall, peer: v.peer, session: c.Session, seq: e.seq})
	m.addHookChange(sh, u.id, query.Change{Kind: query.ChangeRecall, Peer: v.peer, By: u.id, Ranges: oneSeq(e.seq)})
	m.touched[u.id] = true
	if v.peer != u.id {
		m.post(sh, command.Letter{From: u.id, To: v.peer, Kind: command.LetterRecall, Seq: e.seq, Time: e.time})
	}
	return command.Result{}
}

func (m *model) deleteMessages(sh *modelShard, u *modelUser, c *command.DeleteMessages) command.Result {
	v := u.views[c.Peer]
	if v == nil || v.newest() == 0 {
		return refused(command.CodeNotFound)
	}
	for _, seq := range c.Seqs {
		if v.at(seq) == nil {
			return refused(command.CodeNotFound)
		}
	}
	for _, seq := range c.Seqs {
		if e := v.at(seq); e.gap(&sh.limits, sh.now) == "" {
			e.deleted = true
			u.change(modelChange{
				kind: query.ChangeMessagesDeleted, peer: v.peer, session: c.Session, seq: seq,
			})
			m.addHookChange(sh, u.id, query.Change{Kind: query.ChangeMessagesDeleted, Peer: v.peer, Ranges: oneSeq(seq)})
			m.touched[u.id] = true
		}
	}
	return command.Result{}
}

func (m *model) deleteConversation(sh *modelShard, u *modelUser, c *command.DeleteConversation) command.Result {
	v := u.views[c.Peer]
	if v == nil || v.newest() == 0 {
		return refused(command.CodeNotFound)
	}
	if v.unlistedTo == v.newest() && (v.clearedTo == v.newest() || !c.Messages) {
		return command.Result{}
	}
	v.unlistedTo = v.newest()
	for _, e := range v.held() {
		e.unqueued = true
		if c.Messages {
			e.leave(&sh.limits, sh.now, query.GapDeleted)
		}
	}
	if c.Messages {
		v.clearedTo = v.newest()
	}
	u.change(modelChange{
		kind: query.ChangeConversationDeleted, peer: v.peer, session: c.Session, seq: v.unlistedTo, messages: c.Messages,
	})
	m.addHookChange(sh, u.id, query.Change{Kind: query.ChangeConversationDeleted, Peer: v.peer, Seq: v.unlistedTo, Messages: c.Messages})
	m.touched[u.id] = true
	return command.Result{}
}

func (m *model) setConversation(u *modelUser, c *command.SetConversation) command.Result {
	v := u.views[c.Peer]
	if v == nil || v.newest() == 0 {
		return refused(command.CodeNotFound)
	}
	before := v.settings()
	for _, s := range []struct{ to, is *bool }{{c.Muted, &v.muted}, {c.Pinned, &v.pinned}, {c.Unread, &v.markedUnread}} {
		if s.to != nil {
			*s.is = *s.to
		}
	}
	if v.settings() != before {
		m.stampSettings(u, v)
	}
	return command.Result{}
}

func (v *modelView) settings() query.ConversationSettings {
	return query.ConversationSettings{Muted: v.muted, Pinned: v.pinned, Unread: v.markedUnread}
}

// stampSettings tells all sessions of a change of settings.
func (m *model) stampSettings(u *modelUser, v *modelView) {
	u.change(modelChange{kind: query.ChangeSettings, peer: v.peer})
	m.touched[u.id] = true
}

func (m *model) clearMarkedUnread(u *modelUser, v *modelView) {
	if v.markedUnread {
		v.markedUnread = false
		m.stampSettings(u, v)
	}
}

func (m *model) block(sh *modelShard, u *modelUser, c *command.Block) command.Result {
	if c.Target == "" || c.Target == u.id {
		return refused(command.CodeBadRequest)
	}
	i, blocked := slices.BinarySearch(u.blocks, c.Target)
	if blocked != c.Undo {
		return command.Result{}
	}
	kind := command.LetterBlock
	if c.Undo {
		u.blocks = slices.Delete(u.blocks, i, i+1)
		kind = command.LetterUnblock
	} else {
		if len(u.blocks) >= sh.limits.MaxBlocked {
			return refused(command.CodeRateLimited)
		}
		if u.views[c.Target] == nil {
			if code := u.mayOpen(sh); code != command.OK {
				return refused(code)
			}
		}
		u.blocks = slices.Insert(u.blocks, i, c.Target)
	}
	u.view(c.Target)
	u.change(modelChange{kind: query.ChangeBlocked, peer: c.Target})
	m.touched[u.id] = true
	m.post(sh, command.Letter{From: u.id, To: c.Target, Kind: kind, Time: sh.now})
	return command.Result{}
}
