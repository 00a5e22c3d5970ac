package contract

// The contract on what is bounded: window and frames of a session, queue and
// history of a user, what waits for a shard that is down.

import (
	"fmt"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/harness"
	"github.com/belfry-im/belfry/cmd/belfry/e2e/wstest"
)

// The session stops at its window and goes on with each ack.
func TestContractWindow(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t, "--window=2:1MiB"), func(t *testing.T, w *world) {
		const total = 450
		alice := w.online(w.alice, "phone", nil)
		alice.Background("u:"+w.bob, "m", total, cidBody)()
		w.arrived(w.bob, "u:"+w.alice, total)
		bob := w.login(w.bob, "phone", obj{"autoRead": false})
		for seq := int64(1); seq <= total; {
			for range 2 {
				for _, m := range bob.Batch() {
					check(t, "seq", m.Seq, seq)
					seq++
				}
				if seq > total {
					break
				}
			}
			bob.Idle() // the window is full
			if seq > 201 {
				bob.Notice("ack", obj{"d": bob.LastD - 1}) // one frame's room
				for _, m := range bob.Batch() {
					check(t, "seq", m.Seq, seq)
					seq++
				}
				if seq <= total {
					bob.Idle()
				}
			}
			bob.AckAll()
		}
		bob.Expect("onSynced")
		bob.Idle()
	})
}

// A frame to a client holds at most 64 KiB, or one message.
func TestContractFramesToTheClient(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t, "--offline-max-bytes=1MiB", "--user-bytes=4MiB"), func(t *testing.T, w *world) {
		const maxFrame = 64 << 10
		alice := w.device(t, w.alice, "phone", wstest.Msgpack) // its frames hold any body
		alice.Login(nil)
		alice.Sync()
		var bodies []any
		for i := range 60 {
			bodies = append(bodies, strings.Repeat("x", 200*i))
		}
		// As JSON this is 72 KiB, so a frame of its own.
		bodies = append(bodies, strings.Repeat("\x01", 12<<10-3), "the last")
		var m []sentMessage
		for i, body := range bodies {
			m = append(m, alice.sendBody(w.bob, fmt.Sprint(i), body, nil))
		}
		w.arrived(w.bob, "u:"+w.alice, int64(len(m)))

		ws, _, err := w.dialRaw(&websocket.DialOptions{Subprotocols: []string{w.codec.Subprotocol}})
		if err != nil {
			t.Fatal(err)
		}
		ws.SetReadLimit(1 << 20)
		bob := w.device(t, w.bob, "phone", w.codec)
		ctx, cancel := bob.Context()
		defer cancel()
		login, err := w.codec.Encode(obj{"id": 1, "op": "login", "args": bob.LoginArgs(nil)})
		bob.Must(err, "encode")
		bob.Must(ws.Write(ctx, w.codec.Frame, login), "write")
		var got []any
		for full := 0; ; {
			_, b, err := ws.Read(ctx)
			bob.Must(err, "read")
			frame, err := w.codec.Decode(b)
			bob.Must(err, "decode")
			if frame["op"] == "onSynced" {
				if full == 0 {
					t.Error("no frame comes near 64 KiB")
				}
				break
			}
			args, _ := frame["args"].(obj)
			messages, _ := args["messages"].([]any)
			if len(b) > maxFrame && len(messages) != 1 {
				t.Errorf("a frame of %d bytes with %d messages", len(b), len(messages))
			}
			if len(b) > maxFrame*2/3 {
				full++
			}
			got = append(got, messages...)
		}
		check(t, "messages", got, seenBy(w.bob, 1, m...))
	})
}

// What only the queue gives up by age is in history, and not lost.
func TestContractOfflineTTL(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t, "--offline-ttl=1s"), func(t *testing.T, w *world) {
		alice := w.online(w.alice, "phone", nil)
		m := alice.sends(w.bob, "m1", "m2")
		w.arrived(w.bob, "u:"+w.alice, 2)
		w.passed(alice, m[1].time()+1000)
		bob := w.login(w.bob, "phone", obj{"autoRead": false})
		all := bob.Pushes()
		check(t, "messages", messagesIn(all), seenBy(w.bob, 2, m[1])) // through recents
		check(t, "onSynced", syncedIn(all), syncedArgs(0, 0, entry(w.bob, m[1], 2, 0, 0)))
		check(t, "getMessage", bob.Request("getMessage", obj{"conv": "u:" + w.alice}),
			page(1, 2, false, seenBy(w.bob, 1, m...)))
		check(t, "readReport", bob.Request("readReport", obj{"conv": "u:" + w.alice, "seq": 1}), obj{"unread": 0})
	})
}

// When history has no room even for what is unread, that is lost, and named.
func TestContractUnreadEvicted(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t, "--user-bytes=32KiB"), func(t *testing.T, w *world) {
		const total = 60
		alice := w.online(w.alice, "phone", nil)
		var m []sentMessage
		for i := range total {
			m = append(m, alice.sendBody(w.bob, fmt.Sprint(i), obj{"fill": make([]byte, 1000)}, nil))
		}
		w.arrived(w.bob, "u:"+w.alice, total)
		bob := w.login(w.bob, "phone", obj{"autoRead": false})
		all := bob.Pushes()
		left := len(messagesIn(all))
		if left < total/4 || left > total*3/4 {
			t.Fatalf("%d messages of 1 KB are left in 32 KiB", left)
		}
		gone := total - left
		check(t, "messages", messagesIn(all), seenBy(w.bob, gone+1, m[gone:]...))
		check(t, "onSynced", syncedIn(all), with(
			syncedArgs(left, left, entry(w.bob, m[total-1], total, 0, left)),
			obj{"lost": []any{run(w.alice, 1, gone, gone)}}))
		check(t, "getMessage", bob.Request("getMessage", obj{"conv": "u:" + w.alice, "limit": 100}),
			page(1, total, false, seenBy(w.bob, gone+1, m[gone:]...), gap(1, gone, "evicted")))
		// The sender's own view has the same limit.
		reply := alice.Request("getMessage", obj{"conv": "u:" + w.bob, "limit": 100})
		if n := len(reply["messages"].([]any)); n < total/4 || n > total*3/4 {
			t.Errorf("the sender keeps %d messages", n)
		}
	})
}

func TestContractBlockedUsers(t *testing.T) {
	t.Parallel()
	// Blocking a stranger begins no conversation: an hour may see more than 200.
	eachCodec(t, harness.Start(t, "--new-conversations=0"), func(t *testing.T, w *world) {
		const most = 1000
		bob := w.online(w.bob, "phone", nil)
		ctx, cancel := bob.Context()
		defer cancel()
		var waiting []int64
		for i := range most {
			request, err := bob.Conn.Start(ctx, "block", obj{"user": w.user(fmt.Sprintf("troll%d", i))})
			bob.Must(err, "block")
			waiting = append(waiting, request)
		}
		for _, request := range waiting {
			_, err := bob.Conn.Reply(ctx, request)
			bob.Must(err, "block")
		}
		err := bob.Refused("block", obj{"user": w.alice}, "rate_limited")
		namesField(t, err, "user")
		if err.RetryAfterMS <= 0 {
			t.Errorf("rate_limited without retryAfterMs: %v", err)
		}
		bob.Request("block", obj{"user": w.user("troll7")}) // so already
		if n := len(bob.Request("getBlocked", nil)["users"].([]any)); n != most {
			t.Errorf("getBlocked has %d users, want %d", n, most)
		}
		bob.Request("unblock", obj{"user": w.user("troll7")})
		bob.Request("block", obj{"user": w.alice})
	})
}

// A recall overtakes nothing: who comes later gets the gap and not the message.
func TestContractRecallWhileShardIsDown(t *testing.T) {
	t.Parallel()
	s := harness.StartFaults(t, fmt.Sprintf("--shards=%d", harness.Shards))
	eachCodecAlone(t, s, func(t *testing.T, w *world) {
		const down = 3
		alice := w.online(w.userOn("alice", func(shard int) bool { return shard != down }), "phone", nil)
		bob := w.userOn("bob", func(shard int) bool { return shard == down })
		w.StopShard(down)
		m := alice.sends(bob, "m1", "m2", "m3")
		for _, seq := range []int{1, 3} {
			check(t, "recall", alice.Request("recall", obj{"conv": "u:" + bob, "seq": seq}), obj{})
		}
		w.ResumeShard(down)
		// The last recall may come a moment after the message it is about.
		gone := page(1, 3, false, seenBy(bob, 2, m[1]), gap(1, 1, "recalled"), gap(3, 3, "recalled"))
		probe := w.device(t, bob, "probe", w.codec)
		wstest.Eventually(t, "all letters are there", func() bool {
			probe.Connect(wstest.DialOptions{})
			if _, err := probe.Try("login", probe.LoginArgs(obj{"autoRead": false, "recents": "off"})); err != nil {
				return false
			}
			return difference(probe.Request("getMessage", obj{"conv": "u:" + alice.User}), gone) == ""
		})
		phone := w.login(bob, "phone", nil)
		all := phone.Pushes()
		check(t, "messages", messagesIn(all), seenBy(bob, 2, m[1]))
		check(t, "onSynced", syncedIn(all), syncedArgs(1, 1, entry(bob, m[1], 2, 0, 1)))
	})
}

// While a destination is down only so much waits for it. Others are not
// concerned, and nothing acknowledged is lost.
func TestContractOutboxFull(t *testing.T) {
	t.Parallel()
	s := harness.StartFaults(t, fmt.Sprintf("--shards=%d", harness.Shards), "--outbox-bytes=64KiB")
	eachCodecAlone(t, s, func(t *testing.T, w *world) {
		const down = 1
		alice := w.online(w.userOn("alice", func(shard int) bool { return shard == 0 }), "phone", nil)
		carol := w.userOn("carol", func(shard int) bool { return shard == 2 })
		bob := w.userOn("bob", func(shard int) bool { return shard == down })
		w.StopShard(down)
		var m []sentMessage
		var refusal *wstest.Error
		args := func(i int) obj {
			return obj{"conv": "u:" + bob, "cid": fmt.Sprint(i), "body": obj{"fill": make([]byte, 4000)}}
		}
		for i := 0; refusal == nil; i++ {
			if i == 64 {
				t.Fatal("256 KB wait in an outbox of 64 KiB")
			}
			var reply obj
			if reply, refusal = alice.Try("send", args(i)); refusal == nil {
				m = append(m, sentMessage{alice.User, bob, args(i), reply})
			}
		}
		if refusal.Code != "unavailable" || refusal.RetryAfterMS <= 0 {
			t.Errorf("beyond the outbox: %v, retry after %d ms, want unavailable", refusal, refusal.RetryAfterMS)
		}
		if len(m) < 10 {
			t.Errorf("%d messages of 4 KB fill an outbox of 64 KiB", len(m))
		}
		alice.sends(carol, "others are not concerned")
		w.ResumeShard(down)
		wstest.Eventually(t, "the refused one may be sent", func() bool {
			reply, err := alice.Try("send", args(len(m)))
			if err == nil {
				m = append(m, sentMessage{alice.User, bob, args(len(m)), reply})
			}
			return err == nil
		})
		w.arrived(bob, "u:"+alice.User, int64(len(m)))
		phone := w.login(bob, "phone", nil)
		all := phone.Pushes()
		check(t, "messages", messagesIn(all), seenBy(bob, 1, m...))
		check(t, "unread", syncedIn(all)["unreadTotal"], len(m))
	})
}
