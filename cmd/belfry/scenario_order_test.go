package main

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
)

// stream sends n messages to conv with up to window of them unanswered, and
// gives their cids and ids by seq. It may run on any goroutine.
func stream(ctx context.Context, conn *wsConn, conv, prefix string, n, window int, body func(cid string) any) (map[int64]string, error) {
	type open struct {
		request int64
		cid     string
	}
	bySeq := map[int64]string{}
	var waiting []open
	settle := func() error {
		reply, err := conn.reply(ctx, waiting[0].request)
		if err != nil {
			return fmt.Errorf("send %s: %w", waiting[0].cid, err)
		}
		seq, _ := reply["seq"].(int64)
		if other, taken := bySeq[seq]; taken || reply["duplicate"] != nil {
			return fmt.Errorf("send %s = %v, which %q has", waiting[0].cid, reply, other)
		}
		bySeq[seq] = waiting[0].cid
		waiting = waiting[1:]
		return nil
	}
	for i := range n {
		cid := fmt.Sprintf("%s%d", prefix, i)
		request, err := conn.start(ctx, "send", obj{"conv": conv, "cid": cid, "body": body(cid)})
		if err != nil {
			return nil, err
		}
		if waiting = append(waiting, open{request, cid}); len(waiting) == window {
			if err := settle(); err != nil {
				return nil, err
			}
		}
	}
	for len(waiting) > 0 {
		if err := settle(); err != nil {
			return nil, err
		}
	}
	return bySeq, nil
}

// background runs stream beside the test; the function it gives waits for it.
func (c *wsClient) background(conv, prefix string, n int, body func(cid string) any) (wait func() map[int64]string) {
	c.t.Helper()
	type result struct {
		bySeq map[int64]string
		err   error
	}
	done := make(chan result, 1)
	ctx, cancel := c.ctx()
	go func() {
		bySeq, err := stream(ctx, c.conn, conv, prefix, n, 32, body)
		done <- result{bySeq, err}
	}()
	return func() map[int64]string {
		c.t.Helper()
		r := <-done
		cancel()
		c.must(r.err, "stream")
		return r.bySeq
	}
}

func cidBody(cid string) any { return cid }

// An observer notes what one device is pushed of one conversation.
type observer struct {
	*wsClient
	seqs []int64
	cids map[int64]string
	ids  map[string]bool
}

func observe(c *wsClient) *observer {
	return &observer{wsClient: c, cids: map[int64]string{}, ids: map[string]bool{}}
}

// until takes messages until seq, acking each frame, and requires that every
// message is new and above the last.
func (o *observer) until(seq int64) {
	o.t.Helper()
	for len(o.seqs) == 0 || o.seqs[len(o.seqs)-1] < seq {
		m := o.message()
		if len(o.messages) == 0 {
			o.ackAll()
		}
		if n := len(o.seqs); n > 0 && m.Seq <= o.seqs[n-1] || o.ids[m.ID] {
			o.t.Fatalf("%s: seq %d (%s) after %v", o.name(), m.Seq, m.CID, o.seqs)
		}
		o.seqs = append(o.seqs, m.Seq)
		o.cids[m.Seq] = m.CID
		o.ids[m.ID] = true
	}
}

func TestScenario16OneOrder(t *testing.T) {
	t.Parallel()
	eachCodec(t, startRaceServer(t), func(t *testing.T, w *world) {
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

		a := writers[w.alice].background("u:"+w.bob, "a", each, cidBody)
		b := writers[w.bob].background("u:"+w.alice, "b", each, cidBody)
		sent := map[string]map[int64]string{w.alice: a(), w.bob: b()}

		histories := map[string][]wsMessage{}
		for user, devices := range watchers {
			devices[0].until(total)
			devices[1].until(total)
			view := devices[0]
			for i, seq := range view.seqs {
				if seq != int64(i+1) {
					t.Fatalf("%s: seqs %v", view.name(), view.seqs)
				}
				if other := devices[1].cids[seq]; other != view.cids[seq] {
					t.Fatalf("seq %d is %s at %s and %s at %s", seq, view.cids[seq], view.name(), other, devices[1].name())
				}
			}
			// The writing device had its own by replies and the rest by push.
			writer := writers[user]
			if newest := view.seqs[total-1]; sent[user][newest] == "" {
				writer.until(newest)
			}
			for seq, cid := range view.cids {
				if own, pushed := sent[user][seq], writer.cids[seq]; own != cid && (own != "" || pushed != "" && pushed != cid) {
					t.Fatalf("%s: seq %d is %s, at its writer %q or %q", view.name(), seq, cid, own, pushed)
				}
			}
			histories[user] = devices[0].allHistory("u:" + map[string]string{w.alice: w.bob, w.bob: w.alice}[user])
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
	eachCodec(t, startRaceServer(t), func(t *testing.T, w *world) {
		const total = 900
		alice := w.online(w.alice, "phone", nil)
		probe := w.online(w.bob, "probe", obj{"autoRead": false, "recents": "off"})
		wait := alice.background("u:"+w.bob, "m", total, cidBody)
		var devices []*observer
		for i := range 3 {
			// Each comes at another point of the burst.
			point := int64(1 + i*total/4)
			eventually(t, fmt.Sprintf("the burst is at %d", point), func() bool {
				return num(t, probe.request("getMessage", obj{"conv": "u:" + w.alice, "limit": 1}), "to") >= point
			})
			devices = append(devices, observe(w.login(w.bob, fmt.Sprintf("device%d", i), obj{"autoRead": false})))
		}
		sent := wait()
		for _, o := range devices {
			o.until(total)
			if len(o.seqs) != total {
				t.Fatalf("%s: %d messages, want %d", o.name(), len(o.seqs), total)
			}
			for i, seq := range o.seqs { // with until: every message once, in order
				if seq != int64(i+1) || o.cids[seq] != sent[seq] {
					t.Fatalf("%s: message %d has seq %d and cid %s, want %s", o.name(), i+1, seq, o.cids[seq], sent[seq])
				}
			}
			o.expect("onSynced")
			o.idle()
		}
	})
}

// deaf logs a device in that has a small receive buffer and never reads it.
func (w *world) deaf(user, device string) *websocket.Conn {
	w.t.Helper()
	c := w.device(w.t, user, device, w.codec)
	ctx, cancel := c.ctx()
	defer cancel()
	dialer := &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return conn, conn.(*net.TCPConn).SetReadBuffer(4096)
	}}
	ws, _, err := websocket.Dial(ctx, w.url(), &websocket.DialOptions{
		HTTPClient:   &http.Client{Transport: dialer},
		Subprotocols: []string{w.codec.subprotocol},
	})
	c.must(err, "dial")
	w.t.Cleanup(func() { ws.CloseNow() })
	login, err := w.codec.encode(obj{"id": 1, "op": "login", "args": c.loginArgs(obj{"autoRead": false})})
	c.must(err, "encode")
	c.must(ws.Write(ctx, w.codec.frame, login), "login")
	return ws
}

// hangsUp waits until the server has closed the connection of a deaf device. It
// writes to find out: what the kernel still holds would take minutes to read
// through so small a buffer.
func (w *world) hangsUp(ws *websocket.Conn) {
	w.t.Helper()
	frame, err := w.codec.encode(obj{"op": "ack", "args": obj{"d": 0}})
	if err != nil {
		w.t.Fatal(err)
	}
	eventually(w.t, "the connection of a deaf device is closed", func() bool {
		return ws.Write(w.t.Context(), w.codec.frame, frame) != nil
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
	s := start(t, plainBinary, []string{"--ack-timeout=6s", "--write-timeout=6s", "--send-rate=0",
		"--user-bytes=32MiB", "--offline-max-bytes=32MiB", "--offline-max-messages=10000"})
	eachCodecAlone(t, s, func(t *testing.T, w *world) {
		fill := make([]byte, size-100)
		alice := w.online(w.alice, "phone", nil)
		// flood gives the memory that the messages cost, with one device that
		// reads them at once: the deaf delay nobody.
		flood := func(to string) int64 {
			t.Helper()
			hears := observe(w.online(to, "hears", obj{"autoRead": false}))
			start := w.liveBytes()
			wait := alice.background("u:"+to, "m", messages, func(cid string) any { return obj{"cid": cid, "fill": fill} })
			hears.until(messages)
			wait()
			return w.liveBytes() - start
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
		eventually(t, "all deaf sessions are closed as 4413", func() bool { return closes(t, w, "4413") >= before+deaf })
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
	for line := range strings.Lines(metrics(t, w.server)) {
		if m := closeMetric.FindStringSubmatch(line); m != nil && m[1] == code {
			var k int
			fmt.Sscan(m[2], &k)
			n += k
		}
	}
	return n
}
