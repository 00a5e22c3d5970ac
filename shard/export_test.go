package shard

import (
	"math"
	"slices"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
	"github.com/belfry-im/belfry/shard/ring"
)

// What the simulation needs of the inside: a few numbers that no read returns,
// and ways to spoil a state, to prove that the simulation would notice.

// EncodeMentions returns mentions as an entry of a log holds them.
func EncodeMentions(mentions []string) []byte { return appendMentionList(nil, mentions) }

// UpdatesAfter reads what came after an arrival number: visible messages except those
// that the session itself sent, and changes except those that it made. It reads at
// most maxMessages messages and, beyond the first message, about maxBytes bytes.
func (s *State) UpdatesAfter(name command.UserID, session command.SessionID, after uint64, up *query.Updates, maxMessages, maxBytes int, now int64) {
	s.readUpdatesAfter(&query.UpdatesAfter{User: name, Session: session, After: after, MaxMessages: maxMessages, MaxBytes: maxBytes, Updates: up}, now)
}

// NextSync reads the next part of a sync, with bounds as in UpdatesAfter. Messages
// that are no longer visible are left out. With a cursor, changes that the device
// missed come at their place in the order.
func (s *State) NextSync(name command.UserID, sync *query.Sync, up *query.Updates, maxMessages, maxBytes int, now int64) {
	if err := sync.ReadNext(func(q query.Query) error { return s.Answer(q, now) }, name, up, maxMessages, maxBytes); err != nil {
		up.Reset()
	}
}

// Cursor returns the text of a point in the order of a user, or of a group given by
// its key.
func (s *State) Cursor(name command.UserID, arrival uint64) string {
	return query.Cursor(s.epoch, name, arrival)
}

// GroupCursor returns a point in the order of a group as text.
func (s *State) GroupCursor(id command.GroupID, arrival uint64) string {
	return query.Cursor(s.epoch, id.Key(), arrival)
}

// ReadSeq is the read cursor of a conversation.
func ReadSeq(s *State, name, peer command.UserID) uint64 {
	if c := s.inspect(name, peer); c != nil {
		return c.read
	}
	return 0
}

// Receipted returns the peer's seq up to which the peer was told that it is read.
func Receipted(s *State, name, peer command.UserID) uint64 {
	if c := s.inspect(name, peer); c != nil {
		return s.lookup(name).coldOf(c).receiptSent
	}
	return 0
}

// AwaitsCutoff reports whether the next command for a user may evict what is below the
// cutoff.
func AwaitsCutoff(s *State, name command.UserID) bool {
	u := s.lookup(name)
	return u != nil && s.cutoffReaches(u)
}

// HoldsBelowCutoff reports whether a user's logs hold anything below the cutoff.
func HoldsBelowCutoff(s *State, name command.UserID) bool {
	u := s.lookup(name)
	if u == nil {
		return false
	}
	var e ring.Entry
	for i := range u.convs.items {
		if c := &u.convs.items[i]; c.log.At(s.arena, c.log.First(), &e) && e.Time <= s.cutoff {
			return true
		}
	}
	return false
}

// LogBytes adds up all logs, those of frozen slots included.
func LogBytes(s *State) (n int) {
	for u := range s.everybody {
		for i := range u.convs.items {
			n += u.convs.items[i].log.Bytes()
		}
	}
	return n
}

// everybody yields all users, those of moving slots included.
func (s *State) everybody(yield func(*user) bool) {
	slots := s.slots[:]
	for _, arr := range s.arriving {
		slots = append(slots, arr.slot)
	}
	for _, sl := range slots {
		if sl == nil {
			continue
		}
		for number := range sl.users.all {
			if !yield(s.userAt(number)) {
				return
			}
		}
	}
}

func (s *State) inspect(name, peer command.UserID) *conv {
	u := s.lookup(name)
	if u == nil {
		return nil
	}
	i := s.findConv(u, peer)
	if i < 0 {
		return nil
	}
	return &u.convs.items[i]
}

// CutFine has a snapshot come in chunks and frames of few bytes.
func CutFine(w *SnapshotWriter, chunk, frame int) { w.chunkBytes, w.frameBytes = chunk, frame }

// The functions below do what a mistake in the package would: quietly, on one
// user, leaving the state consistent enough to go on.

// ForgetDedup makes a user's dedupe window forget what was sent.
func ForgetDedup(s *State, name command.UserID) {
	if u := s.spoilt(name); u != nil {
		s.forgetDedup(u, &u.dedup, math.MaxInt64)
	}
}

// ForgetFences makes a user or group forget after which logins of devices something came.
func ForgetFences(s *State, name command.UserID) {
	u := s.spoilt(name)
	if u == nil {
		return
	}
	var left []dedupRecord
	var r dedupRecord
	for c := u.dedup.cursor(); c.next(s.arena, &r); {
		if r.id != (command.MsgID{}) {
			left = append(left, r)
		}
	}
	s.forgetDedup(u, &u.dedup, math.MaxInt64)
	for i := range left {
		s.addDedup(&u.dedup, &left[i])
	}
}

// ForgetRemovedDedup removes a user's records of messages that left the logs before their time.
func ForgetRemovedDedup(s *State, name command.UserID) {
	if u := s.spoilt(name); u != nil {
		s.forgetDedup(u, &u.removedDedup, math.MaxInt64)
	}
}

// UnqueueWrong takes the oldest message of a conversation out of the queue as a
// limit would, whether or not it is that conversation's turn.
func UnqueueWrong(s *State, name, peer command.UserID) {
	u, c := s.spoiltConv(name, peer)
	var head ring.Entry
	if c == nil || s.queueHead(u, c, &head) == 0 {
		return
	}
	s.coldMut(u, c).queueFloor = head.Seq
	s.recountQueue(u, c)
	s.recordLost(u, c, &head)
}

// EvictWrong drops the oldest message of a conversation from its log.
func EvictWrong(s *State, name, peer command.UserID) {
	u, c := s.spoiltConv(name, peer)
	if c == nil || c.log.Len() == 0 {
		return
	}
	s.truncateLog(u, c, c.log.First(), gapEvicted)
	s.recountQueue(u, c)
}

// DriftUnread counts a message in a queue that is not there.
func DriftUnread(s *State, name, peer command.UserID) {
	if u, c := s.spoiltConv(name, peer); c != nil && c.queued > 0 {
		s.addQueued(u, c, 1, 0)
	}
}

// LoseLetters empties a user's outbox.
func LoseLetters(s *State, name command.UserID) {
	u := s.spoilt(name)
	if u == nil {
		return
	}
	for i := range u.convs.items {
		u.convs.items[i].outbox = 0
	}
	for i := range u.outbox {
		for _, b := range u.outbox[i].bytes {
			s.letterBytes -= len(b)
		}
	}
	u.outbox = nil
}

// AgeChanges returns the changes of a conversation numbers that every cursor has
// passed already.
func AgeChanges(s *State, name, peer command.UserID) {
	u, c := s.spoiltConv(name, peer)
	if c == nil {
		return
	}
	cold := s.coldMut(u, c)
	for _, at := range []*uint64{&c.readArrival, &cold.peerReadArrival, &cold.unlistedArrival, &cold.clearedArrival} {
		*at = min(*at, firstArrival)
	}
	for i := range s.tombstonesOf(u, c) {
		s.extraMut(u, c).tombstones.items(s.arena)[i].arrival = firstArrival
	}
}

// ForgetLost makes a conversation forget what limits took from its queue.
func ForgetLost(s *State, name, peer command.UserID) {
	if u, c := s.spoiltConv(name, peer); c != nil {
		s.extraMut(u, c).lost.free(s.arena)
	}
}

// EvictSilently removes what the cutoff took from a user and does not say so.
func EvictSilently(s *State, name command.UserID) {
	u := s.spoilt(name)
	if u == nil {
		return
	}
	lost := map[int][]lostRun{}
	for i := range u.extra.items {
		lost[i] = slices.Clone(u.extra.items[i].lost.items(s.arena))
	}
	s.evictToCutoff(u)
	for i := range u.extra.items {
		u.extra.items[i].lost.replace(s.arena, lost[i])
	}
}

// LowerCutoff lets come back what a cutoff has hidden.
func LowerCutoff(s *State) { s.cutoff -= 10_000 }

// ForgetActivity puts a conversation at the end of the order that reads after a
// cursor walk.
func ForgetActivity(s *State, name, peer command.UserID) {
	if u, c := s.spoiltConv(name, peer); c != nil {
		c.lastArrival, c.readArrival, s.coldMut(u, c).changeArrival = 0, 0, 0
	}
}

// ReapplyLetters makes a user take the last letter of a peer again.
func ReapplyLetters(s *State, name, peer command.UserID) {
	if _, c := s.spoiltConv(name, peer); c != nil && c.lettersIn > 0 {
		c.lettersIn--
	}
}

// ForgetHook drops the oldest message that waits for hooks.
func ForgetHook(s *State) {
	if s.hooks.bytes > 0 {
		s.hooks.removeOldest()
	}
}

func (s *State) spoilt(name command.UserID) *user {
	u := s.lookup(name)
	if u != nil {
		s.copyForSnapshot(u)
	}
	return u
}

func (s *State) spoiltConv(name, peer command.UserID) (*user, *conv) {
	u := s.spoilt(name)
	if u == nil {
		return nil, nil
	}
	i := s.findConv(u, peer)
	if i < 0 {
		return nil, nil
	}
	return u, &u.convs.items[i]
}

// LooksErased reports whether a conversation is, or is on its way to be, what
// EraseUser leaves of one, and the first seq that it holds.
func LooksErased(s *State, name, peer command.UserID) (first uint64, ok bool) {
	c := s.inspect(name, peer)
	if c == nil {
		return 0, false
	}
	u := s.lookup(name)
	cold, x := *u.coldOf(c), u.extraOf(c)
	cold.clearDerived()
	ok = c.read+1 == c.log.Next() && c.readArrival == 0 && c.flags&^convBlockedBy == 0 && cold == (coldConv{}) &&
		x.tombstones.n+x.lost.n+x.gone.n == 0 && (c.goneReason == gapDeleted || c.log.Next() == 1)
	return c.log.First(), ok
}

// ForgetImports forgets what was imported.
func ForgetImports(s *State, name command.UserID) {
	u := s.spoilt(name)
	if u == nil {
		return
	}
	for i := range u.convs.items {
		s.forgetImport(u, i)
	}
}

// ForgetStub forgets the letters of a conversation that was erased.
func ForgetStub(s *State, name, peer command.UserID) {
	if _, erased := LooksErased(s, name, peer); !erased {
		return
	}
	if _, c := s.spoiltConv(name, peer); c != nil && c.log.Next() > 1 {
		c.lettersIn, c.lettersOut = 0, 0
	}
}

// ForgetSettings forgets what an administrator has set.
func ForgetSettings(s *State, name command.UserID) {
	if u := s.spoilt(name); u != nil {
		s.setAccount(u, account{})
	}
}

// Update reports whether golden files are to be written anew.
func Update() bool { return *updateGolden }
