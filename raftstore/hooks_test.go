package raftstore

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/belfry-im/belfry/shard"
)

// A hookLog is Hooks that keep what they were told, and answer as the test says.
type hookLog struct {
	mu      sync.Mutex
	told    []string // "user cid unread/total", with " muted"
	events  []shard.GroupEvent
	lost    int
	waiting []func(bool) // not answered yet
	hold    bool         // do not answer
}

func (h *hookLog) Queued(m *QueuedMessage, done func(bool)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	text := fmt.Sprintf("%s %s %d/%d", m.User, m.Message.CID, m.Unread, m.UnreadTotal)
	if m.Muted {
		text += " muted"
	}
	h.told = append(h.told, text)
	if h.hold {
		h.waiting = append(h.waiting, done)
		return
	}
	done(true)
}

func (h *hookLog) WantsQueued() bool { return true }

func (h *hookLog) GroupEvent(e *shard.GroupEvent) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, *e)
}

func (h *hookLog) GroupEventsLost(n int) { h.mu.Lock(); defer h.mu.Unlock(); h.lost += n }

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

func (h *hookLog) await(t testing.TB, want ...string) {
	t.Helper()
	eventually(t, fmt.Sprintf("hooks told of %v, told of %v", want, h.list()), func() bool { return slices.Equal(h.list(), want) })
}

// hooksWaiting is how many messages a user's shard keeps for hooks.
func hooksWaiting(t testing.TB, s *Store, user shard.UserID) (n int) {
	t.Helper()
	err := s.read(user, func(st *shard.State, _ int64) {
		done, last := st.StoredUpTo()
		n = int(last - done)
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestHooksHearOfWhoIsAway has messages for users in all states: only those
// without a session that is looked at are told of.
func TestHooksHearOfWhoIsAway(t *testing.T) {
	hooks := &hookLog{}
	cfg := testConfig(t)
	cfg.Hooks = hooks
	s := open(t, cfg)
	alice, bob, carol := userIn(s, 0, 0), userIn(s, 1, 0), userIn(s, 0, 1)
	phone := login(t, s, bob, "phone", &ear{})
	login(t, s, carol, "phone", &ear{})

	// looked waits for a message that hooks are not to hear of to pass them by.
	looked := func(user, peer shard.UserID, cid string) {
		t.Helper()
		eventually(t, cid+" delivered", func() bool { return slices.Contains(cids(t, s, user, peer), cid) })
		eventually(t, cid+" passed", func() bool { return hooksWaiting(t, s, user) == 0 })
	}

	send(t, s, message(alice, bob, 1)) // he looks
	looked(bob, alice, "c1")
	s.SetBackground(bob, phone.Session, true)
	send(t, s, message(alice, carol, 2)) // as does she
	send(t, s, message(alice, bob, 3))
	hooks.await(t, string(bob)+" c3 2/2")
	laptop := login(t, s, bob, "laptop", &ear{})
	send(t, s, message(alice, bob, 4)) // on another device
	looked(bob, alice, "c4")
	s.Unwatch(bob, laptop.Session)
	if _, err := s.Propose(context.Background(), &shard.SetConversation{User: bob, Peer: alice, Muted: new(true)}); err != nil {
		t.Fatal(err)
	}
	send(t, s, message(carol, bob, 5))
	eventually(t, "c5 told", func() bool { return len(hooks.list()) == 2 })
	send(t, s, message(alice, bob, 6))
	hooks.await(t, string(bob)+" c3 2/2", string(bob)+" c5 1/4", string(bob)+" c6 4/5 muted")
	s.SetBackground(bob, phone.Session, false)
	send(t, s, message(alice, bob, 7))
	looked(bob, alice, "c7")
	s.SetBackground(bob, phone.Session, true)
	send(t, s, message(carol, alice, 8)) // never logged in
	send(t, s, message(alice, alice, 9)) // a note is read at once
	send(t, s, message(alice, bob, 10))
	eventually(t, "all told", func() bool { return len(hooks.list()) >= 5 })
	told := hooks.list()
	slices.Sort(told[3:])
	want := []string{string(alice) + " c8 1/1", string(bob) + " c10 6/7 muted"}
	slices.Sort(want)
	if !slices.Equal(told[3:], want) {
		t.Errorf("hooks told of %v, want %v", told[3:], want)
	}
	for _, user := range []shard.UserID{alice, bob} {
		eventually(t, "the queue is empty", func() bool { return hooksWaiting(t, s, user) == 0 })
	}
}

// TestHooksSkipWhatIsRead holds hooks up until what waits was read, recalled or
// has expired.
func TestHooksSkipWhatIsRead(t *testing.T) {
	hooks := &hookLog{hold: true}
	cfg := testConfig(t)
	cfg.Shards, cfg.Hooks = 1, hooks
	s := open(t, cfg)
	for n := range hookWindow {
		send(t, s, message("alice", "bob", n))
	}
	eventually(t, "the window is full", func() bool { return len(hooks.list()) == hookWindow })
	send(t, s, message("alice", "carol", 1000)) // read
	send(t, s, message("alice", "dave", 1001))  // recalled
	short := message("alice", "eve", 1002)
	short.TTL = 1
	send(t, s, short)
	send(t, s, message("alice", "fay", 1003))
	for _, cmd := range []shard.Command{
		&shard.ReadReport{User: "carol", Peer: "alice", Seq: 1}, &shard.Recall{User: "alice", Peer: "dave", Seq: 1},
	} {
		if r, err := s.Propose(context.Background(), cmd); err != nil || r.Code != shard.OK {
			t.Fatal(r, err)
		}
	}
	time.Sleep(1100 * time.Millisecond) // the ttl, in the store's own time
	if n := len(hooks.list()); n != hookWindow {
		t.Fatalf("%d messages are open, want at most %d", n, hookWindow)
	}
	hooks.answer(true)
	eventually(t, "the queue is empty", func() bool { return hooksWaiting(t, s, "bob") == 0 })
	if got := hooks.list()[hookWindow:]; !slices.Equal(got, []string{"fay c1003 1/1"}) {
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
	const messages = hookWindow + 100
	for n := range messages {
		send(t, s, message("alice", "bob", n))
		if n < hookWindow {
			eventually(t, "told", func() bool { return len(hooks.list()) == n+1 })
		}
	}
	kept := hooksWaiting(t, s, "bob")
	if kept >= 20 || kept < 15 {
		t.Errorf("%d messages wait, want some less than 20", kept)
	}
	hooks.answer(true)
	eventually(t, "the rest is told", func() bool { return len(hooks.list()) == hookWindow+kept })
	if hooks.lost != 100-kept {
		t.Errorf("%d counted as lost, want %d", hooks.lost, 100-kept)
	}
	if last := hooks.list()[hookWindow+kept-1]; last != fmt.Sprintf("bob c%d %d/%d", messages-1, messages, messages) {
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
	cfg.Hooks = hooks
	s := open(t, cfg)
	propose := func(cmd shard.Command) {
		t.Helper()
		if r, err := s.Propose(context.Background(), cmd); err != nil || r.Code != shard.OK {
			t.Fatalf("%T: %+v, %v", cmd, r, err)
		}
	}
	var members []shard.UserID
	for n := range hookWindow + 100 {
		members = append(members, shard.UserID(fmt.Sprintf("m%03d", n)))
	}
	settings := shard.GroupPublic.Settings()
	propose(&shard.CreateGroup{Group: "team", By: "owner", Owner: "owner", Kind: shard.GroupPublic, Settings: settings, Members: members})
	quiet := shard.GroupChatroom.Settings() // has no unread
	propose(&shard.CreateGroup{Group: "room", By: "owner", Owner: "owner", Kind: shard.GroupChatroom, Settings: quiet, Members: members})
	for _, user := range members {
		eventually(t, "membership known", func() bool {
			refs, err := s.GroupsOf(t.Context(), user)
			return err == nil && len(refs) == 2
		})
	}
	login(t, s, "m005", "phone", &ear{})
	tablet := login(t, s, "m300", "tablet", &ear{})
	s.SetBackground("m300", tablet.Session, true)
	muted := true
	propose(&shard.SetGroupView{Group: "team", User: "m007", Muted: &muted})
	text := func(group shard.GroupID, n int) *shard.SendGroup {
		return &shard.SendGroup{Group: group, User: "m001", ID: msgID(uint64(n)), CID: fmt.Sprintf("c%d", n), Body: []byte{0xa1, 'x'}}
	}
	propose(text("room", 1))
	send(t, s, message("owner", "m002", 2))
	eventually(t, "m002 told", func() bool { return len(hooks.list()) == 1 })
	propose(text("team", 3))
	// m002's message may be of another shard, which has a window of its own.
	eventually(t, "the window is full", func() bool { return len(hooks.list()) >= hookWindow })
	propose(&shard.ReadGroup{Group: "team", User: "m299", Seq: 1})
	hooks.answer(true)
	eventually(t, "all told", func() bool { return hooksWaiting(t, s, shard.GroupID("team").Key()) == 0 })

	want := []string{"m002 c2 1/1", "owner c3 1/1"}
	for _, user := range members {
		switch user {
		case "m001", "m005", "m299":
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
	var kinds []shard.GroupEventKind
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
	if kinds[0] != shard.EventCreated {
		t.Errorf("events of kinds %v, want created", kinds)
	}

	propose(&shard.LeaveGroup{Group: "team", User: "m300"})
	eventually(t, "he left", func() bool { hooks.mu.Lock(); defer hooks.mu.Unlock(); return len(hooks.events) >= 3 })
	if hooks.lost > 0 {
		t.Errorf("%d lost", hooks.lost)
	}
}
