package contract

// Scenarios 15, 19, 20, 24, 27 and 28: what is sent is there, once.

import (
	"fmt"
	"testing"

	"github.com/cespare/xxhash/v2"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/harness"
	"github.com/belfry-im/belfry/cmd/belfry/e2e/wstest"
)

func TestScenario15SameCidTwice(t *testing.T) {
	t.Parallel()
	eachCodecAlone(t, harness.Start(t), func(t *testing.T, w *world) {
		bob := w.online(w.bob, "phone", nil)
		alice := w.online(w.alice, "phone", nil)
		first := alice.sendBody(w.bob, "x", obj{"a": 1, "b": []any{true, "two"}}, nil)
		again := with(first.reply, obj{"duplicate": true})
		check(t, "live", bob.LiveMessage(), first.at(w.bob, 1))
		bob.AckAll()
		bob.Request("ping", nil)

		repeat := func() {
			t.Helper()
			check(t, "repeat", alice.Request("send", first.args), again)
			check(t, "repeat with retry", alice.Request("send", with(first.args, obj{"retry": true})), again)
			alice.Refused("send", with(first.args, obj{"body": "another"}), "conflict")
			alice.Refused("send", with(first.args, obj{"body": "another", "retry": true}), "conflict")
		}
		repeat()
		w.Kill()
		w.Restart()
		alice.Login(nil)
		alice.Sync()
		repeat()

		bob.Resume(nil)
		check(t, "messages", messagesIn(bob.Pushes()), []any{})
		next := alice.sends(w.bob, "next")
		check(t, "only the next message", bob.LiveMessage(), next[0].at(w.bob, 2))
		both := append([]sentMessage{first}, next...)
		check(t, "getMessage of bob", bob.Request("getMessage", obj{"conv": "u:" + w.alice}),
			page(1, 2, false, seenBy(w.bob, 1, both...)))
		check(t, "getMessage of alice", alice.Request("getMessage", obj{"conv": "u:" + w.bob}),
			page(1, 2, false, seenBy(w.alice, 1, both...)))

		// A cid is the sender's and the conversation's.
		check(t, "to somebody else", alice.Request("send", with(first.args, obj{"conv": "u:" + w.carol})),
			obj{"id": someText, "seq": 1, "time": someInt})
		check(t, "by somebody else", bob.Request("send", with(first.args, obj{"conv": "u:" + w.alice})),
			obj{"id": someText, "seq": 3, "time": someInt})
	})
}

// After the window a repeat has to say that it is one.
func TestScenario15AfterTheWindow(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t, "--dedup-window=1s"), func(t *testing.T, w *world) {
		alice := w.online(w.alice, "phone", nil)
		first := alice.sends(w.bob, "x")[0]
		w.passed(alice, first.time()+1000)
		check(t, "retry", alice.Request("send", with(first.args, obj{"retry": true})), with(first.reply, obj{"duplicate": true}))
		alice.Refused("send", with(first.args, obj{"body": "another", "retry": true}), "conflict")
		second := alice.Request("send", first.args)
		check(t, "without retry", second, obj{"id": someText, "seq": 2, "time": someInt})
		if second["id"] == first.reply["id"] {
			t.Error("the second message has the first one's id")
		}
		check(t, "getMessage", wstest.Num(t, alice.Request("getMessage", obj{"conv": "u:" + w.bob}), "to"), 2)
	})
}

// An application behind the client rule: it sees what has a new id.
type application struct {
	seen []any
	ids  map[any]bool
}

func (a *application) take(messages []any) {
	if a.ids == nil {
		a.ids = map[any]bool{}
	}
	for _, m := range messages {
		if id := m.(obj)["id"]; !a.ids[id] {
			a.ids[id] = true
			a.seen = append(a.seen, m)
		}
	}
}

func TestScenario19CrashBetweenPushAndAck(t *testing.T) {
	t.Parallel()
	eachCodecAlone(t, harness.Start(t), func(t *testing.T, w *world) {
		var app application
		alice := w.online(w.alice, "phone", nil)
		m := alice.sends(w.bob, "m1", "m2", "m3")
		w.arrived(w.bob, "u:"+w.alice, 3)
		bob := w.device(t, w.bob, "phone", w.codec)

		crashes := []struct {
			what  string
			crash func()
		}{
			{"link", func() { bob.Drop() }},
			{"server", func() { w.Kill(); w.Restart() }},
			{"client", func() { bob.DropWhenHandled() }},
		}
		for _, c := range crashes {
			bob.Login(nil)
			all := bob.Pushes()
			check(t, "pushed before a crash of the "+c.what, messagesIn(all), seenBy(w.bob, 1, m...))
			app.take(messagesIn(all))
			c.crash()
		}
		bob.Login(nil)
		all := bob.Pushes()
		check(t, "pushed after it", messagesIn(all), seenBy(w.bob, 1, m...))
		check(t, "onSynced", syncedIn(all), syncedArgs(3, 3, entry(w.bob, m[2], 3, 0, 3)))
		app.take(messagesIn(all))
		bob.AckAll()
		bob.DropWhenHandled()
		bob.Login(obj{"recents": "quiet"})
		all = bob.Pushes()
		check(t, "pushed after the ack", messagesIn(all), []any{})
		check(t, "onSynced", syncedIn(all), syncedArgs(0, 0, entry(w.bob, m[2], 3, 3, 0)))
		check(t, "what the application saw", app.seen, seenBy(w.bob, 1, m...))
	})
}

// An ack of some frames keeps what came in later ones.
func TestScenario19PartialAck(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t), func(t *testing.T, w *world) {
		alice := w.online(w.alice, "phone", nil)
		m := alice.sends(w.bob, numbered("m", 150)...)
		w.arrived(w.bob, "u:"+w.alice, 150)
		bob := w.login(w.bob, "phone", nil)
		all := bob.Pushes()
		check(t, "messages", messagesIn(all), seenBy(w.bob, 1, m...))
		cursorOnlyAtEnd(t, all)
		first := len(messagesIn(all[:1]))
		if first > 100 {
			t.Errorf("%d messages in one frame", first)
		}
		bob.Notice("ack", obj{"d": 1})
		bob.DropWhenHandled()
		bob.Login(nil)
		all = bob.Pushes()
		check(t, "messages after the partial ack", messagesIn(all), seenBy(w.bob, first+1, m[first:]...))
		check(t, "onSynced", syncedIn(all),
			syncedArgs(150-first, 150-first, entry(w.bob, m[149], 150, first, 150-first)))
	})
}

func TestScenario20KilledAfterAnswer(t *testing.T) {
	t.Parallel()
	eachCodecAlone(t, harness.StartRace(t), func(t *testing.T, w *world) {
		const kills = 3
		alice := w.device(t, w.alice, "phone", w.codec)
		bob := w.device(t, w.bob, "phone", w.codec)
		var m []sentMessage
		for i := range kills {
			alice.Login(nil)
			alice.Sync()
			m = append(m, alice.sends(w.bob, fmt.Sprintf("m%d", i))...)
			w.Kill()
			w.Restart()
			w.arrived(w.bob, "u:"+w.alice, int64(i+1))

			bob.Login(obj{"autoRead": false})
			check(t, "messages", messagesIn(bob.Pushes()), seenBy(w.bob, 1, m...))
			check(t, "getMessage of bob", bob.Request("getMessage", obj{"conv": "u:" + w.alice}),
				page(1, i+1, false, seenBy(w.bob, 1, m...)))
			bob.Idle()
			alice.Login(nil)
			alice.Sync()
			check(t, "getMessage of alice", alice.Request("getMessage", obj{"conv": "u:" + w.bob}),
				page(1, i+1, false, seenBy(w.alice, 1, m...)))
			check(t, "repeat", alice.Request("send", m[i].args), with(m[i].reply, obj{"duplicate": true}))
		}
	})
}

// userOn makes a user whose shard is, or is not, n: 16384 slots in contiguous
// equal ranges.
func (w *world) userOn(name string, is func(shard int) bool) string {
	for i := 0; ; i++ {
		user := w.user(fmt.Sprintf("%s%d", name, i))
		if is(int(xxhash.Sum64String(user)%16384) / (16384 / harness.Shards)) {
			return user
		}
	}
}

func TestScenario24ReceiversShardHasNoLeader(t *testing.T) {
	t.Parallel()
	s := harness.StartFaults(t, fmt.Sprintf("--shards=%d", harness.Shards))
	eachCodecAlone(t, s, func(t *testing.T, w *world) {
		const down = 2
		there := func(shard int) bool { return shard == down }
		elsewhere := func(shard int) bool { return shard != down }
		alice := w.online(w.userOn("alice", elsewhere), "phone", nil)
		bob, dave := w.userOn("bob", there), w.userOn("dave", there)
		carol := w.online(w.userOn("carol", elsewhere), "phone", nil)
		online := w.online(dave, "phone", nil)

		w.StopShard(down)
		m := alice.sends(bob, "m1", "m2")
		live := alice.sends(dave, "live")
		// A destination that is down delays no other.
		other := alice.sends(carol.User, "other")
		check(t, "live elsewhere", carol.LiveMessage(), other[0].at(carol.User, 1))
		if err := alice.refusedAtLogin(bob, "unavailable"); err.RetryAfterMS <= 0 {
			t.Errorf("unavailable without retryAfterMs: %v", err)
		}
		w.ResumeShard(down)

		check(t, "live once it is back", online.LiveMessage(), live[0].at(dave, 1))
		w.arrived(bob, "u:"+alice.User, 2)
		phone := w.login(bob, "phone", nil)
		all := phone.Pushes()
		check(t, "messages", messagesIn(all), seenBy(bob, 1, m...))
		check(t, "onSynced", syncedIn(all), syncedArgs(2, 2, entry(bob, m[1], 2, 0, 2)))
		next := append(alice.sends(bob, "m3"), alice.sends(dave, "live2")...)
		check(t, "only the next message", phone.LiveMessage(), next[0].at(bob, 3))
		check(t, "only the next message", online.LiveMessage(), next[1].at(dave, 2))
		check(t, "getMessage", phone.Request("getMessage", obj{"conv": "u:" + alice.User}),
			page(1, 3, false, seenBy(bob, 1, m[0], m[1], next[0])))
	})
}

// refusedAtLogin tries a login of another user and requires its refusal.
func (c *device) refusedAtLogin(user, code string) *wstest.Error {
	c.T.Helper()
	other := wstest.NewClient(c.T, c.Server, user, "early", c.Codec)
	other.Connect(wstest.DialOptions{})
	return other.Refused("login", other.LoginArgs(nil), code)
}

func TestScenario27AckLostCursorKept(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t), func(t *testing.T, w *world) {
		watch := w.online(w.bob, "watch", obj{"autoRead": false})
		alice := w.online(w.alice, "phone", nil)
		m := alice.sends(w.bob, "m1", "m2", "m3")
		for i := range m {
			check(t, "live", watch.LiveMessage(), m[i].at(w.bob, i+1))
		}
		phone := w.login(w.bob, "phone", nil)
		all := phone.Pushes()
		check(t, "messages", messagesIn(all), seenBy(w.bob, 1, m...))
		var stored string // with the messages, so before onSynced came
		for _, p := range all {
			if cursor, ok := p.Args["cursor"].(string); ok && p.Op == "onNewMessage" {
				stored = cursor
			}
		}
		phone.DropWhenHandled()

		phone.Login(obj{"since": stored})
		all = phone.Pushes()
		if len(all) != 1 {
			t.Fatalf("pushes before onSynced: %v", all[:len(all)-1])
		}
		check(t, "onSynced", syncedIn(all), syncedArgs(0, 0, entry(w.bob, m[2], 3, 3, 0)))
		phone.Idle()
		check(t, "the other device", watch.Next(), wstest.Push{Op: "onReadReport", Args: obj{"conv": "u:" + w.alice, "seq": int64(3)}})
		next := alice.sends(w.bob, "m4")
		check(t, "the next message", phone.LiveMessage(), next[0].at(w.bob, 4))
		check(t, "the next message", watch.LiveMessage(), next[0].at(w.bob, 4))
		alice.Idle() // an automatic read sends no receipt
	})
}

func TestScenario28ReportBeyondTheNewest(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t), func(t *testing.T, w *world) {
		manual := obj{"autoRead": false}
		alice := w.online(w.alice, "phone", nil)
		laptop := w.online(w.bob, "laptop", manual)
		m := alice.sends(w.bob, "m1", "m2", "m3")
		for i := range m {
			check(t, "live", laptop.LiveMessage(), m[i].at(w.bob, i+1))
		}
		phone := w.online(w.bob, "phone", manual)
		check(t, "readReport", phone.Request("readReport", obj{"conv": "u:" + w.alice, "seq": 1000}), obj{"unread": 0})
		check(t, "onReadReport", laptop.Expect("onReadReport"), obj{"conv": "u:" + w.alice, "seq": 3})
		check(t, "onReadReceipt", alice.Expect("onReadReceipt"), obj{"conv": "u:" + w.bob, "seq": 3, "time": someInt})

		next := alice.sends(w.bob, "m4")
		check(t, "live", phone.LiveMessage(), next[0].at(w.bob, 4))
		phone.Logout()
		phone.Login(manual)
		all := phone.Pushes()
		check(t, "messages", messagesIn(all), seenBy(w.bob, 4, next...))
		check(t, "onSynced", syncedIn(all), syncedArgs(1, 1, entry(w.bob, next[0], 4, 3, 1)))
		alice.Idle()
	})
}
