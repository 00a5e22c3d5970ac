package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/belfry-im/belfry/loadtest"
)

// TestSlowPeers has peers with small socket buffers that never read, each of
// them sent more than its window and the kernel take, while others talk under a
// verifying load. The others do not notice, the server's memory is bounded, and
// the slow ones get everything at their next login.
func TestSlowPeers(t *testing.T) {
	t.Parallel()
	const (
		slow     = 40
		messages = 100
		size     = 4 << 10
		window   = 128 << 10
	)
	s := start(t, plainBinary, []string{"--ack-timeout=1s", "--write-timeout=1s", fmt.Sprintf("--window=64:%dKiB", window>>10), "--shards=1",
		"--frame-rate=0", "--login-rate=0", "--new-conversations=0", "--user-bytes=64MiB",
		"--offline-max-bytes=4MiB", "--offline-max-messages=10000"})
	load := func() *loadtest.PairsReport {
		t.Helper()
		var report loadtest.PairsReport
		s.loadJSON(&report, "pairs", "--users", "20", "--rate", "300", "--duration", "1500ms", "--warmup", "200ms")
		return &report
	}
	w := &world{server: s, t: t, codec: codecMsgpack}
	before := load()
	rss := s.residentBytes()

	users := make([]string, slow)
	sockets := make([]*websocket.Conn, slow)
	for i := range users {
		users[i] = fmt.Sprintf("slow%02d", i)
		sockets[i] = w.deaf(users[i], "phone")
	}
	sender := s.device(t, "sender", "phone", codecMsgpack)
	sender.login(nil)
	flooded := make(chan error, 1)
	go func() {
		fill := make([]byte, size)
		for m := range messages {
			for _, user := range users {
				ctx, cancel := sender.ctx()
				_, err := sender.conn.call(ctx, "send", obj{"conv": "u:" + user, "cid": fmt.Sprint(m), "body": obj{"m": m, "fill": fill}})
				cancel()
				if err != nil {
					flooded <- err
					return
				}
			}
		}
		flooded <- nil
	}()
	during := load()
	if err := <-flooded; err != nil {
		t.Fatalf("the sender: %v", err)
	}
	eventually(t, "all slow sessions are closed as 4413", func() bool { return closes(t, w, "4413") >= slow })
	grown := s.residentBytes() - rss
	for _, ws := range sockets {
		w.hangsUp(ws)
	}

	t.Logf("p99 %.2f ms without and %.2f ms with %d slow peers; RSS grew by %d KiB",
		before.Delivery.P99MS, during.Delivery.P99MS, slow, grown>>10)
	// Each message is kept in two views, and garbage may double that.
	if limit := int64(2*2*slow*messages*(size+256) + slow*4*window + 64<<20); grown > limit {
		t.Errorf("RSS grew by %d bytes, want at most %d", grown, limit)
	}
	// The flood itself takes its share of the machine; a peer that delayed others
	// would do so by its write timeout.
	if during.Delivery.P99MS > before.Delivery.P99MS+500 {
		t.Errorf("p99 of the others = %.2f ms, without slow peers %.2f", during.Delivery.P99MS, before.Delivery.P99MS)
	}
	for _, user := range users {
		c := s.device(t, user, "phone", codecMsgpack)
		c.login(obj{"recents": "off"})
		var got []string
		for len(got) < messages {
			got = append(got, c.message().CID)
			if len(got)%32 == 0 {
				c.ackAll()
			}
		}
		for m, cid := range got {
			if cid != fmt.Sprint(m) {
				t.Fatalf("%s: message %d is %s at the next login; all: %s", user, m, cid, strings.Join(slices.Compact(got), " "))
			}
		}
		c.ackAll()
		c.drop()
	}
}
