package main

// The contract on frames and on what comes before them: malformed ones, sizes,
// ids, the upgrade.

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/vmihailenco/msgpack/v5"
)

// dialRaw opens a WebSocket for frames that wsConn would not send.
func (w *world) dialRaw(o *websocket.DialOptions) (*websocket.Conn, *http.Response, error) {
	w.t.Helper()
	ctx, cancel := w.device(w.t, "", "", nil).ctx()
	defer cancel()
	ws, resp, err := websocket.Dial(ctx, w.url(), o)
	if err == nil {
		w.t.Cleanup(func() { ws.CloseNow() })
	}
	return ws, resp, err
}

// pack encodes values one after the other as msgpack; raw bytes stay as they are.
func pack(t testing.TB, parts ...any) []byte {
	t.Helper()
	var b []byte
	for _, p := range parts {
		if raw, ok := p.(msgpack.RawMessage); ok {
			b = append(b, raw...)
			continue
		}
		v, err := msgpack.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		b = append(b, v...)
	}
	return b
}

// fixMap is the header of a small map, for frames built by hand.
func fixMap(n int) msgpack.RawMessage { return msgpack.RawMessage{0x80 | byte(n)} }

func TestContractMalformedFrames(t *testing.T) {
	t.Parallel()
	bigID := uint64(1) << 53
	frames := map[*codec]map[string][]byte{
		codecJSON: {
			"empty":               {},
			"no JSON":             []byte(`{"id":1,"op":"ping"`),
			"array":               []byte(`[1,"ping"]`),
			"text":                []byte(`"ping"`),
			"null":                []byte(`null`),
			"no op":               []byte(`{"id":1}`),
			"empty object":        []byte(`{}`),
			"op is a number":      []byte(`{"id":1,"op":7}`),
			"op is null":          []byte(`{"id":1,"op":null}`),
			"id 0":                []byte(`{"id":0,"op":"ping"}`),
			"id negative":         []byte(`{"id":-1,"op":"ping"}`),
			"id with fraction":    []byte(`{"id":1.5,"op":"ping"}`),
			"id spelt as a float": []byte(`{"id":1.0,"op":"ping"}`),
			"id is a text":        []byte(`{"id":"1","op":"ping"}`),
			"id too big":          fmt.Appendf(nil, `{"id":%d,"op":"ping"}`, bigID),
			"two frames":          []byte(`{"id":1,"op":"ping"}{"id":2,"op":"ping"}`),
			"NaN":                 []byte(`{"id":1,"op":"ping","args":{"x":NaN}}`),
			"no UTF-8":            []byte("{\"id\":1,\"op\":\"p\xffng\"}"),
			"too deep":            []byte(`{"id":1,"op":"ping","args":` + strings.Repeat("[", 30000)),
		},
		codecMsgpack: {
			"empty":          {},
			"cut short":      pack(t, fixMap(2), "id", 1, "op"),
			"array":          pack(t, []any{1, "ping"}),
			"text":           pack(t, "ping"),
			"nil":            pack(t, nil),
			"no op":          pack(t, obj{"id": 1}),
			"empty object":   pack(t, obj{}),
			"op is a number": pack(t, obj{"id": 1, "op": 7}),
			"op is nil":      pack(t, obj{"id": 1, "op": nil}),
			"op is binary":   pack(t, obj{"id": 1, "op": []byte("ping")}),
			"id 0":           pack(t, obj{"id": 0, "op": "ping"}),
			"id negative":    pack(t, obj{"id": -1, "op": "ping"}),
			"id is a float":  pack(t, obj{"id": 1.0, "op": "ping"}),
			"id is a text":   pack(t, obj{"id": "1", "op": "ping"}),
			"id too big":     pack(t, obj{"id": bigID, "op": "ping"}),
			"two frames":     pack(t, obj{"id": 1, "op": "ping"}, obj{"id": 2, "op": "ping"}),
			"no UTF-8":       pack(t, obj{"id": 1, "op": "p\xffng"}),
			"reserved byte":  {0xc1},
			"hostile count":  {0xdf, 0xff, 0xff, 0xff, 0xff},
			"too deep":       append(pack(t, fixMap(3), "id", 1, "op", "ping", "args"), strings.Repeat("\x91", 30000)...),
		},
	}
	eachCodec(t, startServer(t), func(t *testing.T, w *world) {
		alice := w.online(w.alice, "phone", nil)
		alice.sends(w.bob, "m1")
		before := alice.state(w.bob)
		for name, frame := range frames[w.codec] {
			t.Run(name, func(t *testing.T) {
				c := w.device(t, w.bob, "phone", w.codec)
				c.connect(dialOptions{}) // before a login
				c.sendRaw(frame)
				c.expectClose(4400)
				c.login(nil) // and after one
				c.sync()
				c.sendRaw(frame)
				c.expectClose(4400)
			})
		}
		t.Run("frame of the other kind", func(t *testing.T) {
			c := w.device(t, w.bob, "phone", w.codec)
			c.connect(dialOptions{})
			ctx, cancel := c.ctx()
			defer cancel()
			kind := websocket.MessageText
			if w.codec.frame == kind {
				kind = websocket.MessageBinary
			}
			frame, err := w.codec.encode(obj{"id": 1, "op": "ping"})
			c.must(err, "encode")
			c.must(c.conn.ws.Write(ctx, kind, frame), "write")
			c.expectClose(4400)
		})
		check(t, "state", alice.state(w.bob), before)
	})
}

func TestContractFrameSize(t *testing.T) {
	t.Parallel()
	eachCodec(t, startServer(t), func(t *testing.T, w *world) {
		frame := func(size int) []byte {
			fill := size - 100
			for {
				b, err := w.codec.encode(obj{"id": 1000, "op": "ping", "args": obj{"fill": strings.Repeat("x", fill)}})
				if err != nil || len(b) == size {
					return b
				}
				fill += size - len(b)
			}
		}
		c := w.online(w.bob, "phone", nil)
		if _, err := c.answer(1000, frame(64<<10)); err != nil { // unknown keys are ignored
			t.Fatalf("a frame of 64 KiB: %v", err)
		}
		c.sendRaw(frame(64<<10 + 1))
		c.expectClose(1009)
		c.connect(dialOptions{}) // before a login as well
		c.sendRaw(frame(64<<10 + 1))
		c.expectClose(1009)
	})
}

func TestContractIDInUse(t *testing.T) {
	t.Parallel()
	eachCodec(t, startServer(t), func(t *testing.T, w *world) {
		const frames = 48
		alice := w.online(w.alice, "phone", nil)
		ws, _, err := w.dialRaw(&websocket.DialOptions{Subprotocols: []string{w.codec.subprotocol}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := alice.ctx()
		defer cancel()
		write := func(frame obj) {
			t.Helper()
			b, err := w.codec.encode(frame)
			if err == nil {
				err = ws.Write(ctx, w.codec.frame, b)
			}
			alice.must(err, "write")
		}
		replies := func(n int) (list []obj) {
			t.Helper()
			for len(list) < n {
				_, b, err := ws.Read(ctx)
				alice.must(err, "read")
				frame, err := w.codec.decode(b)
				alice.must(err, "decode")
				if frame["id"] != nil {
					list = append(list, frame)
				}
			}
			return list
		}
		bob := w.device(t, w.bob, "phone", w.codec)
		write(obj{"id": 1, "op": "login", "args": bob.loginArgs(nil)})
		replies(1)
		for i := range frames {
			write(obj{"id": 9, "op": "send", "args": obj{"conv": "u:" + w.alice, "cid": fmt.Sprint(i), "body": i}})
		}
		stored, inUse := 0, 0
		for _, r := range replies(frames) {
			check(t, "id", r["id"], int64(9))
			if e, ok := r["err"].(obj); ok {
				check(t, "code", e["code"], "bad_request")
				namesField(t, &wireError{Code: "bad_request", Message: str(t, e, "message")}, "id")
				inUse++
			} else {
				stored++
			}
		}
		if inUse == 0 || stored == 0 {
			t.Errorf("%d requests under one id: %d stored, %d refused", frames, stored, inUse)
		}
		w.arrived(w.alice, "u:"+w.bob, int64(stored))
		_, page := alice.history("u:"+w.bob, nil)
		check(t, "stored", page["to"], stored)
		// Answered, an id may be used anew.
		write(obj{"id": 9, "op": "ping"})
		check(t, "ping", replies(1)[0], obj{"id": 9, "ok": obj{"serverTime": someInt}})
	})
}

func TestContractHTTP(t *testing.T) {
	t.Parallel()
	eachCodec(t, startServer(t, "--allowed-origins=app.example.com"), func(t *testing.T, w *world) {
		resp, err := http.Get("http://" + w.listen + "/v1/ws")
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusUpgradeRequired {
			t.Errorf("no upgrade: status %d, want 426", resp.StatusCode)
		}
		for origin, want := range map[string]int{
			"http://" + w.listen:       http.StatusSwitchingProtocols,
			"https://app.example.com":  http.StatusSwitchingProtocols,
			"https://evil.example.com": http.StatusForbidden,
			"https://example.com":      http.StatusForbidden,
			"null":                     http.StatusForbidden,
		} {
			_, resp, err := w.dialRaw(&websocket.DialOptions{
				Subprotocols: []string{w.codec.subprotocol},
				HTTPHeader:   http.Header{"Origin": {origin}},
			})
			if resp == nil {
				t.Fatalf("origin %s: %v", origin, err)
			}
			if resp.StatusCode != want {
				t.Errorf("origin %s: status %d, want %d", origin, resp.StatusCode, want)
			}
		}
	})
}

// No subprotocol offered means JSON; of several the server takes one it knows.
func TestContractSubprotocol(t *testing.T) {
	t.Parallel()
	w := newWorld(t, startServer(t), codecJSON)
	for _, offered := range [][]string{nil, {"belfry.v2.json", "belfry.v1.json"}} {
		ws, _, err := w.dialRaw(&websocket.DialOptions{Subprotocols: offered})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := w.device(t, "", "", nil).ctx()
		defer cancel()
		if err := ws.Write(ctx, websocket.MessageText, []byte(`{"id":1,"op":"ping"}`)); err != nil {
			t.Fatal(err)
		}
		requireReply(t, ctx, ws, obj{"id": 1, "ok": obj{"serverTime": someInt}})
	}
}

func requireReply(t testing.TB, ctx context.Context, ws *websocket.Conn, want obj) {
	t.Helper()
	_, b, err := ws.Read(ctx)
	if err != nil {
		t.Fatal(err)
	}
	frame, err := decodeJSON(b)
	if err != nil {
		t.Fatal(err)
	}
	check(t, "reply", frame, want)
}
