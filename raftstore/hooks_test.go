package raftstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// A hookLog is Hooks that keep what they were told, and answer as the test says.
type hookLog struct {
	mu      sync.Mutex
	told    []string // "user cid unread/total", with " muted"
	users   []string // "user online" or "user offline"
	events  []query.GroupEvent
	changes []string
	lost    int
	waiting []func(bool) // not answered yet
	hold    bool         // do not answer
}

func (h *hookLog) Queued(m *store.QueuedMessage, done func(bool)) {
	r, err := m.Read(func(now int64) uint64 { return uint64(now) })
	if err != nil {
		done(errors.Is(err, store.ErrNotQueued))
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	text := fmt.Sprintf("%s %s %d/%d", m.User, r.Message.CID, r.Unread, r.Sum.Total)
	if r.Muted {
		text += " muted"
	}
	h.told = append(h.told, text)
	if h.hold {
		h.waiting = append(h.waiting, done)
		return
	}
	done(true)
}

func (h *hookLog) Presence(user command.UserID, online bool, _ int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	text := string(user) + " offline"
	if online {
		text = string(user) + " online"
	}
	h.users = append(h.users, text)
}

func (h *hookLog) WantsQueued() bool { return true }

func (h *hookLog) GroupEvent(e *query.GroupEvent) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, *e)
}

func (h *hookLog) GroupEventsLost(n int) { h.mu.Lock(); defer h.mu.Unlock(); h.lost += n }

func (h *hookLog) ChangesLost(n int) { h.mu.Lock(); defer h.mu.Unlock(); h.lost += n }

func (h *hookLog) WantsChange(query.ChangeKind) bool { return true }

func (h *hookLog) Change(c *shard.HookChange, unread func() (query.UnreadSum, error)) {
	sum, err := unread()
	h.mu.Lock()
	defer h.mu.Unlock()
	text := fmt.Sprintf("kind %d of %q with %q%q: seq %d, %v by %q", c.Kind, c.User, c.Peer, c.Group, c.Seq, c.Ranges, c.By)
	if c.Kind == query.ChangeRead {
		text += fmt.Sprintf(", %d unread, %v", sum.Total, err)
	}
	h.changes = append(h.changes, text)
}

func (h *hookLog) QueuedLost(n int) { h.mu.Lock(); defer h.mu.Unlock(); h.lost += n }

func (h *hookLog) list() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.told)
}

// answer answers all that waits, and from then on at once.
func (h *hookLog) answer(over bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.hold = false
	for _, done := range h.waiting {
		done(over)
	}
	h.waiting = nil
}

// losses is how much they were told is lost.
func (h *hookLog) losses() int { h.mu.Lock(); defer h.mu.Unlock(); return h.lost }

func (h *hookLog) await(t testing.TB, want ...string) {
	t.Helper()
	eventually(t, fmt.Sprintf("hooks told of %v, told of %v", want, h.list()), func() bool { return slices.Equal(h.list(), want) })
}

// hooksWaiting is how many messages a user's shard keeps for hooks.
func hooksWaiting(t testing.TB, s *Store, user command.UserID) (n int) {
	t.Helper()
	err := again(t, func() error {
		return s.shardOf(user).here().local.ReadLocal(func(st *shard.State, _ int64) {
			done, last := st.HookQueueRange()
			n = int(last - done)
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// ackAll has a device ack all that its user has got from a peer.
func (e *ear) ackAll(t testing.TB, s *Store, user, peer command.UserID) {
	t.Helper()
	var page query.Page
	q := query.HistoryQuery{User: user, Peer: peer, Limit: 1, MaxBytes: 1 << 20}
	if err := again(t, func() error { return s.History(q, &page) }); err != nil {
		t.Fatal(err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, m := range page.Updates.Messages {
		e.acks.UpTo = max(e.acks.UpTo, m.Arrival)
	}
}

// TestHooksHearOfWhoIsAway has messages for users in all states: only those that
// no session acks which is looked at are told of.
func TestHooksHearOfWhoIsAway(t *testing.T) {
	hooks := &hookLog{}
	cfg := testConfig(t)
	cfg.Hooks, cfg.QueuedAfter = hooks, time.Hour
	s := open(t, cfg)
	alice, bob, carol := userIn(s, 0, 0), userIn(s, 1, 0), userIn(s, 0, 1)
	var mobile, desk ear
	phone := login(t, s, bob, "phone", &mobile)
	login(t, s, carol, "phone", &ear{})

	// looked has a device ack a message that hooks are not to hear of, and waits for
	// them to pass it by.
	looked := func(e *ear, peer command.UserID, cid string) {
		t.Helper()
		eventually(t, cid+" delivered", func() bool { return slices.Contains(cids(t, s, bob, peer), cid) })
		if n := hooksWaiting(t, s, bob); n != 1 {
			t.Errorf("%d messages wait for an ack of %s, want 1", n, cid)
		}
		e.ackAll(t, s, bob, peer)
		eventually(t, cid+" passed", func() bool { return hooksWaiting(t, s, bob) == 0 })
	}

	send(t, s, message(alice, bob, 1)) // he looks
	looked(&mobile, alice, "c1")
	send(t, s, message(alice, carol, 2)) // she looks, and does not ack
	send(t, s, message(alice, bob, 3))
	eventually(t, "c3 waits", func() bool { return hooksWaiting(t, s, bob) == 1 })
	s.SetBackground(bob, phone.Session, true)
	hooks.await(t, string(bob)+" c3 2/2")
	none := func() {
		t.Helper()
		eventually(t, "nothing waits", func() bool { return hooksWaiting(t, s, bob) == 0 })
	}
	none()
	laptop := login(t, s, bob, "laptop", &desk)
	send(t, s, message(alice, bob, 4)) // on another device
	looked(&desk, alice, "c4")
	send(t, s, message(carol, bob, 5))
	eventually(t, "c5 waits", func() bool { return hooksWaiting(t, s, bob) == 1 })
	s.Unwatch(bob, laptop.Session)
	eventually(t, "c5 told", func() bool { return len(hooks.list()) == 2 })
	if _, err := proposeAgain(t, s, &command.SetConversation{User: bob, Peer: alice, Muted: new(true)}); err != nil {
		t.Fatal(err)
	}
	send(t, s, message(alice, bob, 6))
	hooks.await(t, string(bob)+" c3 2/2", string(bob)+" c5 1/4", string(bob)+" c6 4/5 muted")
	none()
	s.SetBackground(bob, phone.Session, false)
	send(t, s, message(alice, bob, 7))
	looked(&mobile, alice, "c7")
	send(t, s, message(alice, bob, 8))
	eventually(t, "c8 waits", func() bool { return hooksWaiting(t, s, bob) == 1 })
	s.SetStalled(bob, phone.Session, true, 0)
	send(t, s, message(carol, alice, 9))  // never logged in
	send(t, s, message(alice, alice, 10)) // a note is read at once
	send(t, s, message(alice, bob, 11))
	eventually(t, "all told", func() bool { return len(hooks.list()) >= 6 })
	told := hooks.list()
	slices.Sort(told[3:])
	want := []string{string(alice) + " c9 1/1", string(bob) + " c8 6/7 muted", string(bob) + " c11 7/8 muted"}
	slices.Sort(want)
	if !slices.Equal(told[3:], want) {
		t.Errorf("hooks told of %v, want %v", told[3:], want)
	}
	eventually(t, "the queue is empty", func() bool { return hooksWaiting(t, s, bob) == 0 })
	if n := hooksWaiting(t, s, carol); n == 0 {
		t.Error("nothing waits for the ack of carol")
	}
	users := []string{string(bob) + " online", string(carol) + " online", string(bob) + " offline"}
	if hooks.mu.Lock(); !slices.Equal(hooks.users, users) {
		t.Errorf("hooks told of %v, want %v", hooks.users, users)
	}
	hooks.mu.Unlock()
}

// TestHooksHearInTime has messages that nobody acks, to a user and to a group.
func TestHooksHearInTime(t *testing.T) {
	hooks := &hookLog{}
	cfg := testConfig(t)
	cfg.Hooks, cfg.QueuedAfter = hooks, 300*time.Millisecond
	s := open(t, cfg)
	login(t, s, "bob", "phone", &ear{})
	settings := command.GroupPrivate.Settings()
	create := &command.CreateGroup{Group: "team", By: "alice", Owner: "alice", Kind: command.GroupPrivate, Settings: settings, Members: []command.UserID{"bob", "carol"}}
	if r, err := proposeAgain(t, s, create); err != nil || r.Code != command.OK {
		t.Fatal(r, err)
	}
	start := time.Now()
	send(t, s, message("alice", "bob", 1))
	text := &command.SendGroup{Group: "team", User: "alice", ID: msgID(2), CID: "c2", Body: []byte{0xa1, 'x'}}
	if r, err := proposeAgain(t, s, text); err != nil || r.Code != command.OK {
		t.Fatal(r, err)
	}
	eventually(t, "all told", func() bool { return len(hooks.list()) == 3 })
	if took := time.Since(start); took < cfg.QueuedAfter {
		t.Errorf("told after %v, want at least %v", took, cfg.QueuedAfter)
	}
	told := hooks.list()
	slices.Sort(told)
	for i, want := range []string{"bob c1 1/", "bob c2 1/", "carol c2 1/1"} {
		if !strings.HasPrefix(told[i], want) {
			t.Errorf("told of %v, want %s… in place %d", told, want, i)
		}
	}
}

// TestHooksSkipWhatIsRead holds hooks up until what waits was read, recalled or
// has expired.
func TestHooksSkipWhatIsRead(t *testing.T) {
	hooks := &hookLog{hold: true}
	cfg := testConfig(t)
	cfg.Shards, cfg.Hooks = 1, hooks
	s := open(t, cfg)
	for n := range store.MaxOpenQueued {
		send(t, s, message("alice", "bob", n))
	}
	eventually(t, "the window is full", func() bool { return len(hooks.list()) == store.MaxOpenQueued })
	send(t, s, message("alice", "carol", 1000)) // read
	send(t, s, message("alice", "dave", 1001))  // recalled
	short := message("alice", "eve", 1002)
	short.TTL = 1
	send(t, s, short)
	send(t, s, message("alice", "fay", 1003))
	for _, cmd := range []command.Command{
		&command.ReadReport{User: "carol", Peer: "alice", Seq: 1}, &command.Recall{User: "alice", Peer: "dave", Seq: 1},
	} {
		if r, err := proposeAgain(t, s, cmd); err != nil || r.Code != command.OK {
			t.Fatal(r, err)
		}
	}
	time.Sleep(1100 * time.Millisecond) // the ttl, in the store's own time
	if n := len(hooks.list()); n != store.MaxOpenQueued {
		t.Fatalf("%d messages are open, want at most %d", n, store.MaxOpenQueued)
	}
	hooks.answer(true)
	eventually(t, "the queue is empty", func() bool { return hooksWaiting(t, s, "bob") == 0 })
	if got := hooks.list()[store.MaxOpenQueued:]; !slices.Equal(got, []string{"fay c1003 1/1"}) {
		t.Errorf("hooks told of %v, want fay's message alone", got)
	}
}

// TestHooksHearAgain restarts the store while hooks have not dealt with all.
func TestHooksHearAgain(t *testing.T) {
	for _, kind := range logKinds {
		t.Run(kind, func(t *testing.T) {
			hooks := &hookLog{hold: true}
			cfg := testConfig(t)
			cfg.Shards, cfg.RaftLog, cfg.Hooks = 1, kind, hooks
			s, err := Open(cfg)
			if err != nil {
				t.Fatal(err)
			}
			for n := range 5 {
				send(t, s, message("alice", "bob", n))
			}
			eventually(t, "told", func() bool { return len(hooks.list()) == 5 })
			hooks.mu.Lock()
			for _, n := range []int{0, 1, 3} {
				hooks.waiting[n](true)
			}
			hooks.waiting[2](false)
			hooks.mu.Unlock()
			eventually(t, "two are forgotten", func() bool { return hooksWaiting(t, s, "bob") == 3 })
			send(t, s, message("alice", "bob", 5))
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			again := &hookLog{}
			cfg.Hooks = again
			s = open(t, cfg)
			again.await(t, "bob c2 6/6", "bob c3 6/6", "bob c4 6/6", "bob c5 6/6")
			eventually(t, "the queue is empty", func() bool { return hooksWaiting(t, s, "bob") == 0 })
		})
	}
}

// TestHooksOverflow keeps the newest of what is too much, and counts the others.
func TestHooksOverflow(t *testing.T) {
	hooks := &hookLog{hold: true}
	cfg := testConfig(t)
	cfg.Shards, cfg.Hooks, cfg.HookBytes = 1, hooks, 20*len("\x03bob\x05alice\x01")
	s := open(t, cfg)
	const messages = store.MaxOpenQueued + 100
	for n := range messages {
		send(t, s, message("alice", "bob", n))
		if n < store.MaxOpenQueued {
			eventually(t, "told", func() bool { return len(hooks.list()) == n+1 })
		}
	}
	kept := hooksWaiting(t, s, "bob")
	if kept >= 20 || kept < 15 {
		t.Errorf("%d messages wait, want some less than 20", kept)
	}
	hooks.answer(true)
	eventually(t, "the rest is told", func() bool { return len(hooks.list()) == store.MaxOpenQueued+kept })
	if n := hooks.losses(); n != 100-kept {
		t.Errorf("%d counted as lost, want %d", n, 100-kept)
	}
	if last := hooks.list()[store.MaxOpenQueued+kept-1]; last != fmt.Sprintf("bob c%d %d/%d", messages-1, messages, messages) {
		t.Errorf("the last told is %q, want message %d", last, messages-1)
	}
}

// TestHooksSwitchedOff forgets what waited.
func TestHooksSwitchedOff(t *testing.T) {
	cfg := testConfig(t)
	cfg.Shards, cfg.Hooks = 1, &hookLog{hold: true}
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	send(t, s, message("alice", "bob", 1))
	if n := hooksWaiting(t, s, "bob"); n != 1 {
		t.Fatalf("%d wait, want 1", n)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	cfg.Hooks = nil
	s = open(t, cfg)
	eventually(t, "nothing waits", func() bool { return hooksWaiting(t, s, "bob") == 0 })
	send(t, s, message("alice", "bob", 2))
	if n := hooksWaiting(t, s, "bob"); n != 0 {
		t.Errorf("%d wait without hooks", n)
	}
}

// TestHooksHearOfGroups has a message in a group with more members than can be told
// of at a time, of whom some look, one has read it, and one wrote it.
func TestHooksHearOfGroups(t *testing.T) {
	hooks := &hookLog{hold: true}
	cfg := testConfig(t)
	cfg.Hooks, cfg.QueuedAfter = hooks, time.Hour
	s := open(t, cfg)
	propose := func(cmd command.Command) {
		t.Helper()
		if r, err := proposeAgain(t, s, cmd); err != nil || r.Code != command.OK {
			t.Fatalf("%T: %+v, %v", cmd, r, err)
		}
	}
	var members []command.UserID
	for n := range store.MaxOpenQueued + 100 {
		members = append(members, command.UserID(fmt.Sprintf("m%03d", n)))
	}
	settings := command.GroupPublic.Settings()
	propose(&command.CreateGroup{Group: "team", By: "owner", Owner: "owner", Kind: command.GroupPublic, Settings: settings, Members: members})
	quiet := command.GroupChatroom.Settings() // has no unread
	propose(&command.CreateGroup{Group: "room", By: "owner", Owner: "owner", Kind: command.GroupChatroom, Settings: quiet, Members: members})
	for _, user := range members {
		eventually(t, "membership known", func() bool {
			refs, err := s.GroupsOf(t.Context(), user)
			return err == nil && len(refs) == 2
		})
	}
	var looker ear
	login(t, s, "m005", "phone", &looker)
	leaver := login(t, s, "m010", "phone", &ear{})
	tablet := login(t, s, "m300", "tablet", &ear{})
	s.SetBackground("m300", tablet.Session, true)
	muted := true
	propose(&command.SetGroupView{Group: "team", User: "m007", Muted: &muted})
	text := func(group command.GroupID, n int) *command.SendGroup {
		return &command.SendGroup{Group: group, User: "m001", ID: msgID(uint64(n)), CID: fmt.Sprintf("c%d", n), Body: []byte{0xa1, 'x'}}
	}
	propose(text("room", 1))
	send(t, s, message("owner", "m002", 2))
	eventually(t, "m002 told", func() bool { return len(hooks.list()) == 1 })
	propose(&command.Block{User: "m020", Target: "m001"}) // who sends it
	propose(&command.SetUser{User: "m021", Suspended: new(true)})
	propose(text("team", 3))
	// m002's message may be of another shard, which has a window of its own.
	eventually(t, "the window is full", func() bool { return len(hooks.list()) >= store.MaxOpenQueued })
	propose(&command.ReadGroup{Group: "team", User: "m299", Seq: 1})
	hooks.answer(true)
	eventually(t, "all told who are away", func() bool { return len(hooks.list()) >= len(members)-5 })
	eventually(t, "one message waits for acks", func() bool { return hooksWaiting(t, s, command.GroupID("team").Key()) == 1 })
	s.Unwatch("m010", leaver.Session)
	eventually(t, "m010 told", func() bool { return slices.Contains(hooks.list(), "m010 c3 1/1") })
	looker.mu.Lock()
	looker.acks.Groups = map[command.GroupID]store.Span{"team": {From: 0, To: 1 << 60}}
	looker.mu.Unlock()
	eventually(t, "all told", func() bool { return hooksWaiting(t, s, command.GroupID("team").Key()) == 0 })

	want := []string{"m002 c2 1/1", "owner c3 1/1"}
	for _, user := range members {
		switch user {
		case "m001", "m005", "m020", "m021", "m299":
		case "m002":
			want = append(want, "m002 c3 1/2")
		case "m007":
			want = append(want, "m007 c3 1/1 muted")
		default:
			want = append(want, string(user)+" c3 1/1")
		}
	}
	got := hooks.list()
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("told of %d messages: %v, want %d", len(got), got, len(want))
	}
	var kinds []query.GroupEventKind
	eventually(t, "events", func() bool {
		hooks.mu.Lock()
		defer hooks.mu.Unlock()
		kinds = kinds[:0]
		for _, e := range hooks.events {
			if e.Group == "team" {
				kinds = append(kinds, e.Kind)
			}
		}
		return len(kinds) == 1
	})
	if kinds[0] != query.EventCreated {
		t.Errorf("events of kinds %v, want created", kinds)
	}

	propose(&command.LeaveGroup{Group: "team", User: "m300"})
	eventually(t, "he left", func() bool { hooks.mu.Lock(); defer hooks.mu.Unlock(); return len(hooks.events) >= 3 })
	if n := hooks.losses(); n > 0 {
		t.Errorf("%d lost", n)
	}
}

// TestHooksHearOfWhoWasLeftBehind has a process end without a word to its users'
// sessions: who does not come back is told to be offline once his session is logged
// out, and was last seen when he last did something.
func TestHooksHearOfWhoWasLeftBehind(t *testing.T) {
	cfg := testConfig(t)
	cfg.Shards, cfg.Hooks = 1, &hookLog{}
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	login(t, s, "alice", "phone", &ear{})
	login(t, s, "bob", "phone", &ear{})
	login(t, s, "bob", "tablet", &ear{})
	sessions, err := s.Sessions(context.Background(), "bob")
	if err != nil {
		t.Fatal(err)
	}
	sent := message("bob", "alice", 1)
	sent.Session = sessions[0].Number
	at := send(t, s, sent).Time
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	hooks := &hookLog{}
	cfg.Hooks, cfg.ClaimWithin = hooks, 300*time.Millisecond
	s = open(t, cfg)
	login(t, s, "alice", "phone", &ear{})
	seen := func() {
		t.Helper()
		if p, err := s.Presence("alice", []command.UserID{"bob"}); err != nil || p["bob"] != (store.Presence{LastSeen: at}) {
			t.Errorf("Presence = %v, %v; want bob offline since %d", p, err, at)
		}
	}
	seen()
	users := func() []string { // a slow login of alice may come after bob's sessions were let go
		hooks.mu.Lock()
		defer hooks.mu.Unlock()
		return slices.Sorted(slices.Values(hooks.users))
	}
	eventually(t, "bob is offline", func() bool { return slices.Equal(users(), []string{"alice online", "bob offline"}) })
	seen()
}
