package contract

// Scenarios 16, 21 and 23: order under load, and a client that never reads.

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/harness"
	"github.com/belfry-im/belfry/cmd/belfry/e2e/wstest"
)

func cidBody(cid string) any { return cid }

// An observer notes what one device is pushed of one conversation.
type observer struct {
	*device
	seqs []int64
	cids map[int64]string
	ids  map[string]bool
}

func observe(c *device) *observer {
	return &observer{device: c, cids: map[int64]string{}, ids: map[string]bool{}}
}

// until takes messages until seq, acking each frame, and requires that every
// message is new and above the last.
func (o *observer) until(seq int64) {
	o.T.Helper()
	for len(o.seqs) == 0 || o.seqs[len(o.seqs)-1] < seq {
		m := o.Message()
		if o.BetweenFrames() {
			o.AckAll()
		}
		if n := len(o.seqs); n > 0 && m.Seq <= o.seqs[n-1] || o.ids[m.ID] {
			o.T.Fatalf("%s: seq %d (%s) after %v", o.Name(), m.Seq, m.CID, o.seqs)
		}
		o.seqs = append(o.seqs, m.Seq)
		o.cids[m.Seq] = m.CID
		o.ids[m.ID] = true
	}
}

func TestScenario16OneOrder(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.StartRace(t), func(t *testing.T, w *world) {
		const each, total = 150, 300
		manual := obj{"autoRead": false} // only messages are pushed
		writers := map[string]*observer{
			w.alice: observe(w.online(w.alice, "phone", manual)),
			w.bob:   observe(w.online(w.bob, "phone", manual)),
		}
		watchers := map[string][]*observer{}
		for user := range writers {
			for _, device := range []string{"laptop", "tablet"} {
				watchers[user] = append(watchers[user], observe(w.online(user, device, manual)))
			}
		}

		a := writers[w.alice].Background("u:"+w.bob, "a", each, cidBody)
		b := writers[w.bob].Background("u:"+w.alice, "b", each, cidBody)
		sent := map[string]map[int64]string{w.alice: a(), w.bob: b()}

		histories := map[string][]wstest.Message{}
		for user, devices := range watchers {
			devices[0].until(total)
			devices[1].until(total)
			view := devices[0]
			for i, seq := range view.seqs {
				if seq != int64(i+1) {
					t.Fatalf("%s: seqs %v", view.Name(), view.seqs)
				}
				if other := devices[1].cids[seq]; other != view.cids[seq] {
					t.Fatalf("seq %d is %s at %s and %s at %s", seq, view.cids[seq], view.Name(), other, devices[1].Name())
				}
			}
			// The writing device had its own by replies and the rest by push.
			writer := writers[user]
			if newest := view.seqs[total-1]; sent[user][newest] == "" {
				writer.until(newest)
			}
			for seq, cid := range view.cids {
				if own, pushed := sent[user][seq], writer.cids[seq]; own != cid && (own != "" || pushed != "" && pushed != cid) {
					t.Fatalf("%s: seq %d is %s, at its writer %q or %q", view.Name(), seq, cid, own, pushed)
				}
			}
			histories[user] = devices[0].AllHistory("u:" + map[string]string{w.alice: w.bob, w.bob: w.alice}[user])
			if len(histories[user]) != total {
				t.Fatalf("history of %s has %d messages, want %d", user, len(histories[user]), total)
			}
			next := map[string]int{}
			for i, m := range histories[user] {
				if m.Seq != int64(i+1) || m.CID != view.cids[m.Seq] {
					t.Fatalf("history of %s: seq %d is %s, pushed as %s", user, m.Seq, m.CID, view.cids[m.Seq])
				}
				// Nobody's messages changed places in either view.
				if want := fmt.Sprintf("%c%d", m.CID[0], next[m.From]); m.CID != want {
					t.Fatalf("history of %s: seq %d is %s, want %s", user, m.Seq, m.CID, want)
				}
				next[m.From]++
				if i > 0 && m.Time < histories[user][i-1].Time {
					t.Fatalf("history of %s: time goes back at seq %d", user, m.Seq)
				}
			}
		}
		ids := map[string]string{}
		for _, m := range histories[w.alice] {
			ids[m.CID] = m.ID
		}
		for _, m := range histories[w.bob] {
			if ids[m.CID] != m.ID {
				t.Fatalf("%s is %s for bob and %s for alice", m.CID, m.ID, ids[m.CID])
			}
		}
	})
}

func TestScenario21LoginDuringBurst(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.StartRace(t), func(t *testing.T, w *world) {
		const total = 900
		alice := w.online(w.alice, "phone", nil)
		probe := w.online(w.bob, "probe", obj{"autoRead": false, "recents": "off"})
		wait := alice.Background("u:"+w.bob, "m", total, cidBody)
		var devices []*observer
		for i := range 3 {
			// Each comes at another point of the burst.
			point := int64(1 + i*total/4)
			wstest.Eventually(t, fmt.Sprintf("the burst is at %d", point), func() bool {
				return wstest.Num(t, probe.Request("getMessage", obj{"conv": "u:" + w.alice, "limit": 1}), "to") >= point
			})
			devices = append(devices, observe(w.login(w.bob, fmt.Sprintf("device%d", i), obj{"autoRead": false})))
		}
		sent := wait()
		for _, o := range devices {
			o.until(total)
			if len(o.seqs) != total {
				t.Fatalf("%s: %d messages, want %d", o.Name(), len(o.seqs), total)
			}
			for i, seq := range o.seqs { // with until: every message once, in order
				if seq != int64(i+1) || o.cids[seq] != sent[seq] {
					t.Fatalf("%s: message %d has seq %d and cid %s, want %s", o.Name(), i+1, seq, o.cids[seq], sent[seq])
				}
			}
			o.Expect("onSynced")
			o.Idle()
		}
	})
}

// deaf logs a device in that has a small receive buffer and never reads it.
func (w *world) deaf(user, device string) *websocket.Conn {
	w.t.Helper()
	c := w.device(w.t, user, device, w.codec)
	ctx, cancel := c.Context()
	defer cancel()
	dialer := &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return conn, conn.(*net.TCPConn).SetReadBuffer(4096)
	}}
	ws, _, err := websocket.Dial(ctx, w.URL(), &websocket.DialOptions{
		HTTPClient:   &http.Client{Transport: dialer},
		Subprotocols: []string{w.codec.Subprotocol},
	})
	c.Must(err, "dial")
	w.t.Cleanup(func() { ws.CloseNow() })
	login, err := w.codec.Encode(obj{"id": 1, "op": "login", "args": c.LoginArgs(obj{"autoRead": false})})
	c.Must(err, "encode")
	c.Must(ws.Write(ctx, w.codec.Frame, login), "login")
	return ws
}

// hangsUp waits until the server has closed the connection of a deaf device. It
// writes to find out: what the kernel still holds would take minutes to read
// through so small a buffer.
func (w *world) hangsUp(ws *websocket.Conn) {
	w.t.Helper()
	frame, err := w.codec.Encode(obj{"op": "ack", "args": obj{"d": 0}})
	if err != nil {
		w.t.Fatal(err)
	}
	wstest.Eventually(w.t, "the connection of a deaf device is closed", func() bool {
		return ws.Write(w.t.Context(), w.codec.Frame, frame) != nil
	})
}

func TestScenario23ClientNeverReads(t *testing.T) {
	t.Parallel()
	const (
		deaf     = 12
		messages = 1200
		size     = 8 << 10
		missed   = deaf * messages * size // 112 MiB, if it were kept per session
	)
	// The time-outs leave the deaf sessions open while their memory is measured.
	s := harness.Start(t, "--ack-timeout=6s", "--write-timeout=6s", "--send-rate=0",
		"--user-bytes=32MiB", "--offline-max-bytes=32MiB", "--offline-max-messages=10000")
	eachCodecAlone(t, s, func(t *testing.T, w *world) {
		fill := make([]byte, size-100)
		alice := w.online(w.alice, "phone", nil)
		// flood gives the memory that the messages cost, with one device that
		// reads them at once: the deaf delay nobody.
		flood := func(to string) int64 {
			t.Helper()
			hears := observe(w.online(to, "hears", obj{"autoRead": false}))
			start := w.LiveBytes()
			wait := alice.Background("u:"+to, "m", messages, func(cid string) any { return obj{"cid": cid, "fill": fill} })
			hears.until(messages)
			wait()
			return w.LiveBytes() - start
		}
		stored := flood(w.carol) // with nobody there who misses them
		before := closes(t, w, "4413")
		var sockets []*websocket.Conn
		for i := range deaf {
			sockets = append(sockets, w.deaf(w.bob, fmt.Sprintf("deaf%d", i)))
		}
		grown := flood(w.bob)
		t.Logf("the heap grew by %d KiB without and %d KiB with %d deaf sessions", stored>>10, grown>>10, deaf)
		if limit := max(stored, 0) + missed/4; grown > limit {
			t.Errorf("the heap grew by %d bytes, want at most %d", grown, limit)
		}
		wstest.Eventually(t, "all deaf sessions are closed as 4413", func() bool { return closes(t, w, "4413") >= before+deaf })
		for _, ws := range sockets {
			w.hangsUp(ws)
		}

		returned := observe(w.login(w.bob, "deaf0", obj{"autoRead": false}))
		returned.until(messages)
		if len(returned.seqs) != messages {
			t.Errorf("%d messages at the next login, want %d", len(returned.seqs), messages)
		}
	})
}

var closeMetric = regexp.MustCompile(`^belfry_\S*close\S*\{[^}]*"(\d{4})"[^}]*\} (\d+)`)

// closes reads from the metrics how many sessions were closed with code.
func closes(t testing.TB, w *world, code string) (n int) {
	t.Helper()
	for line := range strings.Lines(w.Metrics(t)) {
		if m := closeMetric.FindStringSubmatch(line); m != nil && m[1] == code {
			var k int
			fmt.Sscan(m[2], &k)
			n += k
		}
	}
	return n
}
