//go:build linux

package operation

// The limit of memory, from outside: what a server does that is given little.

import (
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/harness"
	"github.com/belfry-im/belfry/cmd/belfry/e2e/wstest"
	"github.com/belfry-im/belfry/loadtest"
)

// TestMemoryLimitShortensRetention fills a small server with twice what it may
// hold. It drops the oldest messages and reports that: what was acknowledged and is
// younger than the retention it announces is there, all else is named.
func TestMemoryLimitShortensRetention(t *testing.T) {
	t.Parallel()
	const (
		limit   = 128 << 20
		pairs   = 8
		total   = 4500 // messages, each of which two views hold
		every   = time.Second / 750
		refused = "sends are refused"
	)
	s := harness.Start(t, "--memory-limit=128MiB", "--shards=2", "--frame-rate=0", "--send-rate=0", "--log-level=info",
		"--user-bytes=128MiB", "--offline-max-bytes=128MiB", "--offline-max-messages=1000000")
	text := strings.Repeat("0123456789abcdef", 10<<10/16)
	acked := make([][]int64, pairs) // times, by seq-1, of what user i sent to their peer
	var sent atomic.Int64
	var senders sync.WaitGroup
	pace := time.NewTicker(every)
	defer pace.Stop()
	for i := range pairs {
		sender := s.Login(t, fmt.Sprintf("sender%d", i), "phone", obj{"recents": "off"})
		senders.Go(func() {
			for sent.Add(1) <= total {
				<-pace.C
				n := len(acked[i])
				reply, err := sender.Conn.Call(t.Context(), "send", obj{
					"conv": fmt.Sprintf("u:receiver%d", i), "cid": fmt.Sprint(n), "body": obj{"text": text},
				})
				if err != nil {
					t.Errorf("send %d: %v", n, err)
					return
				}
				if seq := reply["seq"].(int64); seq != int64(n+1) {
					t.Errorf("seq of send %d = %d", n, seq)
					return
				}
				acked[i] = append(acked[i], reply["time"].(int64))
			}
		})
	}
	senders.Wait()
	if t.Failed() {
		return
	}

	// Room is made, so that what follows finds a limit that no longer moves.
	for i := pairs / 2; i < pairs; i++ {
		c := s.Login(t, fmt.Sprintf("sender%d", i), "tablet", obj{"recents": "off"})
		c.Request("deleteConversation", obj{"conv": fmt.Sprintf("u:receiver%d", i), "messages": true})
	}
	wstest.Eventually(t, "memory suffices", func() bool {
		used := 0.0
		for _, part := range []string{"messages", "users", "dedupe", "letters", "other"} {
			used += s.Metric(`belfry_memory_used_bytes{part="` + part + `"}`)
		}
		return used < limit*65/100
	})

	retention := time.Hour
	for _, shard := range []string{"0", "1"} {
		seconds := s.Metric(`belfry_shard_retention_seconds{shard="` + shard + `"}`)
		retention = min(retention, time.Duration(seconds*float64(time.Second)))
	}
	complete := time.Now().Add(-retention).UnixMilli() // younger than that is there
	if retention >= time.Hour || retention < 2*time.Second {
		t.Fatalf("retention = %v, want it shortened", retention)
	}
	lost := 0
	for i := range pairs {
		if i < pairs/2 {
			sender := s.Login(t, fmt.Sprintf("sender%d", i), "laptop", obj{"recents": "off"})
			checkShortened(t, sender, fmt.Sprintf("u:receiver%d", i), acked[i], complete, nil)
		}
		receiver := s.Device(t, fmt.Sprintf("receiver%d", i), "phone", nil)
		receiver.Login(obj{"recents": "off", "autoRead": false})
		named := map[int64]bool{}
		pushed := 0
		for synced := false; !synced; {
			p := receiver.Next()
			switch p.Op {
			case "onNewMessage":
				pushed += len(receiver.OnNewMessage(p.Args))
				receiver.AckAll()
			case "onSynced":
				synced = true
				for _, l := range p.Args["lost"].([]any) {
					for seq := wstest.Num(t, l.(obj), "from"); seq <= wstest.Num(t, l.(obj), "to"); seq++ {
						named[seq] = true
					}
				}
			}
		}
		lost += checkShortened(t, receiver, fmt.Sprintf("u:sender%d", i), acked[i], complete, named)
		if pushed+len(named) != len(acked[i]) {
			t.Errorf("receiver%d: %d messages pushed and %d lost, want %d", i, pushed, len(named), len(acked[i]))
		}
	}
	if lost < total/4 || lost > total*3/4 {
		t.Errorf("%d of %d messages are gone", lost, total)
	}
	s.CheckMemory(t, limit)
	if log := s.Log.String(); strings.Contains(log, refused) || !strings.Contains(log, "memory is short") {
		t.Error("the log does not say that memory was short, or sends were refused")
	}
	t.Logf("retention %v, %d of %d messages gone, at most %d MiB", retention, lost, total, s.Status(t, "VmHWM")>>20)
}

// checkShortened compares a history with what was acknowledged: the messages
// that are not there are the oldest, none of them is from complete or later, and
// each is a gap with its reason, and named as lost unless named is nil. It
// returns their number.
func checkShortened(t *testing.T, c *wstest.Client, conv string, acked []int64, complete int64, named map[int64]bool) (gone int) {
	t.Helper()
	messages := c.AllHistory(conv)
	gone = len(acked) - len(messages)
	for i, m := range messages {
		if m.Seq != int64(gone+i+1) || m.Time != acked[gone+i] && named == nil {
			t.Fatalf("%s: %s: message %d has seq %d, time %d; want %d, %d", c.Name(), conv, i, m.Seq, m.Time, gone+i+1, acked[gone+i])
		}
	}
	if gone > 0 && acked[gone-1] >= complete {
		t.Errorf("%s: %s: seq %d is gone, %d ms younger than announced", c.Name(), conv, gone, acked[gone-1]-complete)
	}
	for seq := int64(1); named != nil && seq <= int64(len(acked)); seq++ {
		if named[seq] != (seq <= int64(gone)) {
			t.Fatalf("%s: %s: lost names %d: %v, with %d gone", c.Name(), conv, seq, named[seq], gone)
		}
	}
	_, page := c.History(conv, obj{"after": 0, "limit": 1})
	if gaps, _ := page["gaps"].([]any); gone > 0 && (len(gaps) != 1 || gaps[0].(obj)["reason"] != "evicted" || wstest.Num(t, gaps[0].(obj), "to") != int64(gone)) {
		t.Errorf("%s: %s: gaps = %v, want 1 to %d evicted", c.Name(), conv, gaps, gone)
	}
	return gone
}

// TestMemoryFull fills a server with what no shorter retention frees: users and
// conversations. Sends are refused, all else goes on, and with more memory it
// takes sends again.
func TestMemoryFull(t *testing.T) {
	t.Parallel()
	const limit = 96 << 20
	s := harness.Start(t, "--memory-limit=96MiB", "--shards=2", "--frame-rate=0", "--send-rate=0", "--new-conversations=0")
	refused := make(chan *wstest.Error, 1)
	var stop atomic.Bool
	var senders sync.WaitGroup
	for i := range 16 {
		c := s.Login(t, fmt.Sprintf("sender%d", i), "phone", obj{"recents": "off"})
		senders.Go(func() {
			for n := 0; n < 9000 && !stop.Load(); n++ {
				_, err := c.Conn.Call(t.Context(), "send", obj{
					"conv": fmt.Sprintf("u:receiver-%d-%d", i, n), "cid": "1", "body": "x",
				})
				if e, ok := errors.AsType[*wstest.Error](err); ok && e.Code == "unavailable" {
					stop.Store(true)
					select {
					case refused <- e:
					default:
					}
				} else if err != nil {
					t.Errorf("send: %v", err)
					return
				}
			}
		})
	}
	senders.Wait()
	if t.Failed() {
		return
	}
	select {
	case e := <-refused:
		if e.RetryAfterMS <= 0 {
			t.Errorf("retryAfterMs = %d with %v", e.RetryAfterMS, e)
		}
	default:
		t.Fatal("all sends were taken")
	}
	if got := s.Metric("belfry_memory_full"); got != 1 {
		t.Errorf("belfry_memory_full = %v, want 1", got)
	}
	// The metric says what takes the memory, and the rest works.
	if users := s.Metric(`belfry_memory_used_bytes{part="users"}`); users < limit/8 {
		t.Errorf("users take %v bytes, want the most of %d", users, limit)
	}
	receiver := s.Login(t, "receiver-0-0", "phone", nil)
	receiver.Sync()
	receiver.AckAll()
	receiver.History("u:sender0", nil)
	receiver.Request("deleteConversation", obj{"conv": "u:sender0", "messages": true})
	receiver.Refused("send", obj{"conv": "u:sender0", "cid": "1", "body": "x"}, "unavailable")
	s.CheckMemory(t, limit)

	s.Kill()
	s.Restart("--memory-limit=512MiB")
	receiver.Login(obj{"recents": "off"})
	receiver.Sync()
	receiver.Say("u:sender0", "room again")
}

// TestMemoryFullForAMoment sends more than may be taken from within the last
// seconds: that is refused, and taken once what is held is old enough to go. What is
// more than that depends on how fast the machine sends, so slow ones get less memory.
func TestMemoryFullForAMoment(t *testing.T) {
	t.Parallel()
	for mib := int64(160); mib >= 64; mib -= 32 {
		if fullForAMoment(t, mib<<20) || t.Failed() {
			return
		}
	}
	t.Error("no sends were refused")
}

// fullForAMoment sends for a while to a server with a memory limit, and reports whether some
// sends were refused.
func fullForAMoment(t *testing.T, limit int64) bool {
	s := harness.Start(t, fmt.Sprintf("--memory-limit=%dMiB", limit>>20), "--shards=1", "--frame-rate=0", "--send-rate=0", "--login-rate=0", "--new-conversations=0")
	program := harness.Binary(t)
	// A process of its own, without the race detector, sends faster than 2 s of
	// messages fit.
	out, err := exec.CommandContext(t.Context(), program, "load", "pairs", "--users", "100", "--body", "11KiB", "--warmup", "0s", "--duration", "6s",
		"--output", "json", "--server", "http://"+s.Listen, "--auth-secret-file", s.Path("auth.secret")).Output()
	// Exit code 1 says that a device missed something: one that is more than 2 s
	// behind may.
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || exit.ExitCode() != 1) {
		t.Fatalf("load: %v\n%s", err, out)
	}
	var report loadtest.PairsReport
	if err := json.Unmarshal(out, &report); err != nil {
		t.Fatal(err)
	}
	if report.Sent == 0 {
		t.Error("no sends were taken")
	}
	c := s.Login(t, "afterwards", "phone", obj{"recents": "off"})
	wstest.Eventually(t, "sends are taken again", func() bool {
		_, err := c.Conn.Call(t.Context(), "send", obj{"conv": "u:receiver", "cid": "1", "body": "there is room"})
		return err == nil
	})
	s.CheckMemory(t, limit)
	t.Logf("with %d MiB: %d sends taken, %v refused, at most %d MiB", limit>>20, report.Sent, report.Refused, s.Status(t, "VmHWM")>>20)
	s.Stop()
	return report.Refused["unavailable"] > 0
}
