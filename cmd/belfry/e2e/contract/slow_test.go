package contract

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/harness"
	"github.com/belfry-im/belfry/cmd/belfry/e2e/wstest"
)

// TestSlowPeers has peers with small socket buffers that never read, each of
// them sent more than its window and the kernel take, while others talk under a
// verifying load. The server waits for the slow ones for longer than any test
// takes: whatever waited for them too would never be done. Its memory is
// bounded, and the slow ones get everything at their next login.
func TestSlowPeers(t *testing.T) {
	t.Parallel()
	const (
		slow     = 40
		messages = 100
		size     = 4 << 10
		window   = 128 << 10
	)
	s := harness.Start(t, "--ack-timeout=1h", "--write-timeout=1h", fmt.Sprintf("--window=64:%dKiB", window>>10), "--shards=1",
		"--frame-rate=0", "--send-rate=0", "--login-rate=0", "--new-conversations=0", "--user-bytes=64MiB",
		"--offline-max-bytes=4MiB", "--offline-max-messages=10000")
	w := &world{Server: s, t: t, codec: wstest.Msgpack}
	before := s.LiveBytes()

	users := make([]string, slow)
	sockets := make([]*websocket.Conn, slow)
	for i := range users {
		users[i] = fmt.Sprintf("slow%02d", i)
		sockets[i] = w.deaf(users[i], "phone")
	}
	sender := s.Device(t, "sender", "phone", wstest.Msgpack)
	sender.Login(nil)
	flooded := make(chan error, 1)
	go func() {
		fill := make([]byte, size)
		for m := range messages {
			for _, user := range users {
				ctx, cancel := sender.Context()
				_, err := sender.Conn.Call(ctx, "send", obj{"conv": "u:" + user, "cid": fmt.Sprint(m), "body": obj{"m": m, "fill": fill}})
				cancel()
				if err != nil {
					flooded <- err
					return
				}
			}
		}
		flooded <- nil
	}()
	// It fails unless everything arrives.
	if out, err := exec.Command(s.Bin, "load", "pairs", "--users", "20", "--rate", "300", "--duration", "1500ms", "--warmup", "200ms",
		"--server", "http://"+s.Listen, "--auth-secret-file", s.Path("auth.secret")).CombinedOutput(); err != nil {
		t.Errorf("belfry load pairs: %v\n%s", err, out)
	}
	if err := <-flooded; err != nil {
		t.Fatalf("the sender: %v", err)
	}
	if n := closes(t, w, "4413"); n != 0 {
		t.Fatalf("%d slow sessions were closed, want none so soon", n)
	}
	grown := s.LiveBytes() - before
	for _, ws := range sockets {
		ws.CloseNow()
	}

	t.Logf("the heap grew by %d KiB with %d slow peers", grown>>10, slow)
	// Each message is kept in two views.
	if limit := int64(2*2*slow*messages*(size+256) + slow*4*window); grown > limit {
		t.Errorf("the heap grew by %d bytes, want at most %d", grown, limit)
	}
	for _, user := range users {
		c := s.Device(t, user, "phone", wstest.Msgpack)
		c.Login(obj{"recents": "off"})
		var got []string
		for len(got) < messages {
			got = append(got, c.Message().CID)
			if len(got)%32 == 0 {
				c.AckAll()
			}
		}
		for m, cid := range got {
			if cid != fmt.Sprint(m) {
				t.Fatalf("%s: message %d is %s at the next login; all: %s", user, m, cid, strings.Join(slices.Compact(got), " "))
			}
		}
		c.AckAll()
		c.Drop()
	}
}
