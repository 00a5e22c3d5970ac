package shard_test

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
)

// A deed is something that can happen in a world, with how often it does
// among all.
type deed struct {
	weight int
	do     func(*world)
}

var deeds = []deed{
	{400, (*world).sendMessage},
	{40, (*world).repeatMessage},
	{15, (*world).deliverLate},
	{70, (*world).readReport},
	{25, (*world).recall},
	{20, (*world).deleteMessages},
	{12, (*world).deleteConversation},
	{8, (*world).setConversation},
	{15, (*world).block},
	{20, (*world).repeatRequest},
	{6, (*world).badCommand},
	{40, (*world).login},
	{12, (*world).leave},
	{130, (*world).pull},
	{220, (*world).deliverSome},
	{25, (*world).cutWire},
	{60, (*world).trim},
	{6, (*world).expire},
	{4, (*world).raiseCutoff},
	{2, (*world).configure},
	{4, (*world).startMove},
	{60, (*world).move},
	{6, (*world).repeatMoveStep},
	{4, (*world).openAgain},
	{20, (*world).snapshot},
	{6, (*world).checksum},
	{12, (*world).jump},
	{6, (*world).setUser},
	{6, (*world).refreshToken},
	{25, (*world).setRead},
	{1, (*world).eraseUser},
	{25, (*world).importSome},
	{60, (*world).readOne},
	{3, (*world).readAll},

	{330, (*world).talkInGroup},
	{40, (*world).repeatTalk},
	{90, (*world).readGroup},
	{40, (*world).recallInGroup},
	{10, (*world).deleteSender},
	{40, (*world).hideInGroup},
	{20, (*world).hideGroup},
	{12, (*world).setGroupView},
	{10, (*world).answerOwner},
	{8, (*world).unban},
	{60, (*world).createGroup},
	{3, (*world).dismissGroup},
	{60, (*world).joinGroup},
	{30, (*world).leaveGroup},
	{35, (*world).answerJoin},
	{35, (*world).addMembers},
	{25, (*world).removeMembers},
	{30, (*world).setMember},
	{15, (*world).setGroup},
	{25, (*world).repeatGroupCommand},
	{90, (*world).followGroup},
}

var deedWeights = func() (sum int) {
	for _, d := range deeds {
		sum += d.weight
	}
	return sum
}()

// run lets a world live until it has executed that many commands, brings it to
// rest and checks what must hold then.
func (w *world) run(commands int) {
	for w.commands < commands {
		w.step++
		w.clock += int64(w.rng.IntN(w.pace))
		n := w.rng.IntN(deedWeights)
		for _, d := range deeds {
			if n -= d.weight; n < 0 {
				d.do(w)
				break
			}
		}
		w.tellHooks()
		if w.restless && w.chance(30) {
			w.startMove()
			w.move()
		}
		for _, sh := range w.shards {
			if len(sh.pending) > 0 && w.chance(30) || len(sh.pending) >= 16 {
				w.flush(sh)
			}
		}
	}
	w.rest()
}

// rest finishes what is under way: moves, letters, snapshots.
func (w *world) rest() {
	for round := 0; ; round++ {
		if round == 1000 {
			w.failf("letters are still waiting after %d rounds of delivery", round)
		}
		for _, m := range slices.Clone(w.moves) {
			w.goOnMoving(m)
		}
		w.mail = nil
		for _, sh := range w.shards {
			w.resend(sh)
		}
		if len(w.mail) == 0 && len(w.moves) == 0 {
			break
		}
		for len(w.mail) > 0 {
			w.deliverSome()
		}
		w.flushAll()
		for len(w.trims) > 0 {
			w.trim()
		}
		w.flushAll()
	}
	for _, sh := range w.shards {
		for sh.photo != nil {
			w.photograph(sh)
		}
		w.replay(sh)
	}
	for _, d := range w.devices {
		if d.session != 0 {
			w.catchUpDevice(d)
		}
	}
	w.catchUpFeeds()
	w.checkMemberships()
	w.readAll()
	w.checkConservation()
}

func (w *world) flushAll() {
	for _, sh := range w.shards {
		w.flush(sh)
	}
}

// anyUser prefers the first ones, so that some are busy and some are quiet.
func (w *world) anyUser() command.UserID {
	return w.users[min(w.rng.IntN(len(w.users)), w.rng.IntN(len(w.users)))]
}

// anySession is mostly one of the user's devices, sometimes the server or a
// session of the past.
func (w *world) anySession(user command.UserID) command.SessionID {
	var live []command.SessionID
	for _, d := range w.devices {
		if d.user == user && d.session != 0 {
			live = append(live, d.session)
		}
	}
	switch {
	case len(live) > 0 && !w.chance(10):
		return pick(w, live)
	case w.chance(50):
		return 0
	}
	return command.SessionID(w.rng.IntN(int(w.model.user(user).lastSession) + 1))
}

// origin is that of a device of a user, or of none.
func (w *world) origin(user command.UserID) command.Origin {
	var own []*device
	for _, d := range w.devices {
		if d.user == user && len(d.logins) > 0 {
			own = append(own, d)
		}
	}
	if len(own) == 0 || w.chance(10) {
		return command.Origin{}
	}
	d := pick(w, own)
	return command.Origin{Device: command.HashDevice(d.name), Login: d.logins[len(d.logins)-1], Fence: w.chance(70)}
}

// dispatch has a message submitted now, or when its device may have logged in again, or
// both. A message that comes so late may be no repeat any more: it has an id of its own.
func (w *world) dispatch(submit func(command.MsgID)) {
	late := func() { submit(w.id()) }
	if w.chance(5) {
		w.late = append(w.late, late)
		return
	}
	id := w.id()
	submit(id)
	if w.chance(5) {
		submit(id) // a client that is in doubt at once
	}
	if w.chance(1) {
		w.late = append(w.late, late)
	}
}

// deliverLate has a message come that was long on its way.
func (w *world) deliverLate() {
	if len(w.late) == 0 {
		return
	}
	i := w.rng.IntN(len(w.late))
	w.late[i]()
	w.late = slices.Delete(w.late, i, i+1)
}

func (w *world) body() []byte {
	n := 1 + w.rng.IntN(w.bodyBytes)
	switch {
	case w.chance(10):
		n *= 4
	case w.chance(2):
		n = w.bodyBytes * 20
	}
	b := binary.BigEndian.AppendUint16([]byte{0xc5}, uint16(n))
	for range n {
		b = append(b, byte(w.rng.Uint32()))
	}
	return b
}

func (w *world) id() (id command.MsgID) {
	w.nextID++
	binary.BigEndian.PutUint64(id[8:], w.nextID)
	return id
}

func (w *world) sendMessage() {
	from, to := w.anyUser(), w.anyUser()
	if w.chance(3) {
		to = from
	}
	w.nextID++
	cmd := &command.Send{
		User: from, Session: w.anySession(from), To: to,
		CID: fmt.Sprintf("c%d", w.nextID), Body: w.body(), Retry: w.chance(5), Origin: w.origin(from),
	}
	if w.chance(15) {
		cmd.TTL = uint32(1 + w.rng.IntN(60))
	}
	if w.chance(5) {
		cmd.Mentions = []string{string(to), "everybody"}[:1+w.rng.IntN(2)]
	}
	if w.chance(8) {
		cmd.Original = command.HashBody(w.body())
	}
	w.dispatch(func(id command.MsgID) {
		sent := *cmd
		sent.ID = id
		w.submit(&sent)
	})
}

// repeatMessage sends a cid again, soon or long after, mostly with its body.
func (w *world) repeatMessage() {
	if len(w.sent) == 0 {
		return
	}
	recent := w.sent[max(0, len(w.sent)-1-w.rng.IntN(100)):]
	if w.chance(20) {
		recent = w.sent[max(0, len(w.sent)-3000):] // what may have left its log
	}
	cmd := *pick(w, recent)
	cmd.ID = w.id()
	cmd.Session = w.anySession(cmd.User)
	cmd.Retry = w.chance(50)
	if w.chance(20) || cmd.Original != 0 && w.chance(50) {
		cmd.Body = w.body() // which is a repeat nevertheless if that is what replaces the client's
	}
	if w.chance(5) {
		cmd.Original = command.HashBody(w.body())
	}
	if w.chance(5) {
		cmd.To = w.anyUser()
	}
	w.submit(&cmd)
}

func (w *world) submit(cmd *command.Send) {
	w.sent = append(w.sent, cmd)
	w.send(cmd, func(r *command.Result) {
		if r.Code != command.OK || r.Duplicate {
			return
		}
		w.acked[[2]command.UserID{cmd.User, cmd.To}]++
		if d := w.device(cmd.User, cmd.Session); d != nil {
			d.hold(cmd.To, r.Seq)
		}
	})
}

// request numbers a changing request. Ids may come again with other contents.
func (w *world) request() command.Request {
	if w.chance(10) {
		return command.Request{}
	}
	return command.Request{ID: uint64(1 + w.rng.IntN(40)), Hash: w.rng.Uint64()}
}

// someSeq is a seq of a conversation, near its end, rarely one that is not there.
func (w *world) someSeq(user, peer command.UserID) uint64 {
	newest := uint64(0)
	if v := w.model.user(user).views[peer]; v != nil {
		newest = v.newest()
	}
	if w.chance(5) {
		return uint64(w.rng.IntN(int(newest) + 5))
	}
	depth := 1 + w.rng.IntN(12)
	if w.chance(10) {
		depth = int(newest) + 1
	}
	return max(1, newest-min(newest, uint64(w.rng.IntN(depth))))
}

func (w *world) readReport() {
	user, peer := w.anyUser(), w.anyUser()
	cmd := &command.ReadReport{
		User: user, Session: w.anySession(user), Request: w.request(), Peer: peer, Seq: w.someSeq(user, peer), Auto: w.chance(40),
	}
	w.ask(cmd, cmd.Auto, func(d *device) { d.read[peer] = w.model.user(user).views[peer].readSeq })
}

func (w *world) recall() {
	user, peer := w.anyUser(), w.anyUser()
	seq := w.someSeq(user, peer)
	if v := w.model.user(user).views[peer]; v != nil && w.chance(80) {
		for _, e := range slices.Backward(v.entries) { // one's own, if there is one
			if e.own && e.seq <= seq {
				seq = e.seq
				break
			}
		}
	}
	cmd := &command.Recall{User: user, Session: w.anySession(user), Request: w.request(), Peer: peer, Seq: seq}
	w.ask(cmd, true, func(d *device) { d.recalled(peer, seq) })
}

func (w *world) deleteMessages() {
	user, peer := w.anyUser(), w.anyUser()
	var seqs []uint64
	for range 1 + w.rng.IntN(4) {
		seqs = append(seqs, w.someSeq(user, peer))
	}
	cmd := &command.DeleteMessages{User: user, Session: w.anySession(user), Request: w.request(), Peer: peer, Seqs: seqs}
	w.ask(cmd, true, func(d *device) {
		for _, seq := range seqs {
			d.deleted(peer, seq)
		}
	})
}

func (w *world) deleteConversation() {
	user, peer := w.anyUser(), w.anyUser()
	cmd := &command.DeleteConversation{
		User: user, Session: w.anySession(user), Request: w.request(), Peer: peer, Messages: w.chance(40),
	}
	w.ask(cmd, true, func(d *device) {
		if cmd.Messages {
			d.wiped(peer)
		}
	})
}

func (w *world) setConversation() {
	user, peer := w.anyUser(), w.anyUser()
	cmd := &command.SetConversation{User: user, Session: w.anySession(user), Request: w.request(), Peer: peer}
	if w.chance(60) {
		cmd.Muted = new(w.chance(50))
	}
	if w.chance(60) {
		cmd.Pinned = new(w.chance(50))
	}
	if w.chance(60) {
		cmd.Unread = new(w.chance(70))
	}
	w.ask(cmd, true, nil)
}

func (w *world) block() {
	user, target := w.anyUser(), w.anyUser()
	if w.chance(10) {
		target = pick(w, strangers)
	}
	w.ask(&command.Block{
		User: user, Session: w.anySession(user), Request: w.request(), Target: target, Undo: w.chance(60),
	}, true, nil)
}

// ask orders a request of a session and lets its device know what it did. What
// the model has to adopt from the state goes alone.
func (w *world) ask(cmd command.Command, batched bool, tell func(*device)) {
	user, session := command.UserID(cmd.Key()), sessionOf(cmd)
	done := func(r *command.Result) {
		if d := w.device(user, session); d != nil && r.Code == command.OK && tell != nil {
			tell(d)
		}
	}
	w.requests = append(w.requests, order{cmd, done})
	if len(w.requests) > 64 {
		w.requests = w.requests[1:]
	}
	if batched {
		w.send(cmd, done)
	} else {
		w.alone(cmd, done)
	}
}

// repeatRequest asks again, as a client does that got no answer.
func (w *world) repeatRequest() {
	if len(w.requests) == 0 {
		return
	}
	o := pick(w, w.requests)
	w.alone(o.cmd, o.done)
}

// badCommand asks for what cannot be; nothing may change.
func (w *world) badCommand() {
	user := w.anyUser()
	sh := w.shardOf(user)
	w.flush(sh)
	if w.moving(user) || shard.AwaitsCutoff(sh.leader, user) {
		return
	}
	before := sh.leader.Checksum(command.SlotOf(string(user)))
	refusals := []command.Command{
		&command.Send{User: user, To: "", CID: "x", Body: []byte{1}},
		&command.Send{User: user, To: "bob", CID: "", Body: []byte{1}},
		&command.Send{User: user, To: "bob", CID: "x"},
		&command.Login{User: user},
		&command.Block{User: user, Target: user},
		&command.Block{User: user},
		&command.ReadReport{User: user, Peer: "nobody", Seq: 1},
		&command.Recall{User: user, Peer: "nobody", Seq: 1},
		&command.DeleteMessages{User: user, Peer: "nobody", Seqs: []uint64{1}},
		&command.DeleteConversation{User: user, Peer: "nobody"},
		&command.SetConversation{User: user, Peer: "nobody", Muted: new(true)},
		&command.Deliver{Letter: command.Letter{From: user, To: user, Number: 1, Kind: command.LetterBlock}},
		&command.Deliver{Letter: command.Letter{From: "nobody", To: user, Number: 7, Kind: command.LetterBlock}},
		&command.TrimOutbox{From: user, To: "nobody", UpTo: 7},
		&command.OpenSlots{Epoch: 1 << 40, Slots: []command.SlotRange{{First: 7, Last: 6}}},
		&command.DropSlot{Slot: command.SlotOf(string(user)), Move: 1 << 40}, // it is not on the move
		&command.BeginMove{Slot: command.SlotOf("nobody"), Move: 1 << 40},    // it is not here
		&command.Logout{User: user, Session: 1 << 40},
	}
	w.order(sh.index, pick(w, refusals), nil)
	w.flush(sh)
	// A refusal may make the account known, nothing else.
	known := w.model.user(user).arrival > 1
	if after := sh.leader.Checksum(command.SlotOf(string(user))); known && after != before && w.spoil == nil {
		w.failf("a refused command changed the slot of %s", user)
	}
}

// sessionOf is the session that a request names.
func sessionOf(cmd command.Command) command.SessionID {
	switch c := cmd.(type) {
	case *command.ReadReport:
		return c.Session
	case *command.Recall:
		return c.Session
	case *command.DeleteMessages:
		return c.Session
	case *command.DeleteConversation:
		return c.Session
	case *command.SetConversation:
		return c.Session
	case *command.Block:
		return c.Session
	}
	return 0
}

func (w *world) expire() {
	cmd := &command.PurgeExpired{LastSlot: command.Slots - 1}
	if w.chance(50) {
		slot := command.SlotOf(string(pick(w, w.keys())))
		cmd.FirstSlot, cmd.LastSlot = slot, slot
	}
	w.order(w.rng.IntN(simShards), cmd, nil)
}

// configure changes the bounds of one shard.
func (w *world) configure() {
	limits := w.limits
	if w.limits.UserBytes < 1<<20 && !w.busy {
		w.randomBounds(&limits)
	}
	if w.newTimes && w.chance(50) {
		limits.OfflineTTL = time.Duration(20+w.rng.IntN(300)) * time.Second
	}
	sh := pick(w, w.shards)
	cmd := w.configuration(sh, limits, w.model.shards[sh.index].hooks.limit)
	if w.chance(20) { // that of a leader who knows an older one: it changes nothing
		cmd.Version, cmd.HookBytes = w.rng.Uint64N(cmd.Version), 40
		cmd.Epoch = w.rng.Uint64N(2)
	}
	w.order(sh.index, cmd, nil)
}

// configuration makes the next configuration of a shard.
func (w *world) configuration(sh *simShard, limits command.Limits, hookBytes int) *command.Configure {
	sh.version++
	return &command.Configure{Version: sh.version, Limits: limits, HookBytes: hookBytes}
}

// checksum has the replicas of a shard compute checksums, from where the last one ended.
func (w *world) checksum() {
	sh := pick(w, w.shards)
	w.order(sh.index, &command.Checksum{From: sh.sumFrom, MaxBytes: uint32(w.rng.IntN(20_000))}, nil)
}

func (w *world) move() {
	if len(w.moves) > 0 {
		w.goOnMoving(pick(w, w.moves))
	}
}

func (w *world) snapshot() {
	sh := pick(w, w.shards)
	if w.rng.IntN(40) == 0 {
		w.replay(sh)
		return
	}
	if sh.photo != nil || w.chance(30) {
		w.photograph(sh)
	}
}

// jump lets time pass.
func (w *world) jump() {
	if w.busy && w.chance(80) {
		return
	}
	if w.rng.IntN(40) == 0 {
		w.mail = nil // no letter is on its way for so long
		w.clock += pick(w, []int64{8, 31}) * 24 * 3600 * 1000
		return
	}
	switch w.rng.IntN(10) {
	case 0:
		w.clock += w.limits.HistoryTTL.Milliseconds() + 1000
	case 1, 2:
		w.clock += w.limits.OfflineTTL.Milliseconds() / 2
	default:
		w.clock += int64(w.rng.IntN(20_000))
	}
}

func (w *world) readOne() {
	w.checkUser(pick(w, w.users))
	w.exploreGroup(pick(w, w.groups))
}

func (w *world) readAll() {
	w.flushAll()
	for _, user := range w.users {
		w.checkUser(user)
		w.checkElsewhere(user)
	}
	for _, user := range slices.Concat(strangers, ghosts) {
		w.checkStranger(user)
	}
	for _, id := range w.groups {
		w.checkGroup(id)
		w.exploreGroup(id)
		w.checkGroupElsewhere(id)
	}
	w.checkOwners()
	for _, sh := range w.shards {
		w.compareReplicas(sh, sh.follower)
		w.checkOutbox(sh)
		w.checkSessions(sh)
		if size := sh.leader.Size(); size < 0 {
			w.failf("Size() = %d", size)
		}
		for _, state := range []*shard.State{sh.leader, sh.follower} {
			if got, want := state.Usage().Messages, shard.LogBytes(state); got != want {
				w.failf("Usage().Messages = %d, want %d", got, want)
			}
			if got, want := state.Usage().Letters, shard.LetterBytes(state); got != want {
				w.failf("Usage().Letters = %d, want %d", got, want)
			}
		}
	}
}
