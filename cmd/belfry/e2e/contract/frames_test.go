package contract

// The contract on frames and on what comes before them: malformed ones, sizes,
// ids, the upgrade.

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/vmihailenco/msgpack/v5"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/harness"
	"github.com/belfry-im/belfry/cmd/belfry/e2e/wstest"
)

// dialRaw opens a WebSocket for frames that a wstest.Conn would not send.
func (w *world) dialRaw(o *websocket.DialOptions) (*websocket.Conn, *http.Response, error) {
	w.t.Helper()
	ctx, cancel := w.device(w.t, "", "", nil).Context()
	defer cancel()
	ws, resp, err := websocket.Dial(ctx, w.URL(), o)
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
	frames := map[*wstest.Codec]map[string][]byte{
		wstest.JSON: {
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
			"too deep":            []byte(`{"id":1,"op":"ping","args":` + strings.Repeat("[", 30000)),
		},
		wstest.Msgpack: {
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
	eachCodec(t, harness.Start(t), func(t *testing.T, w *world) {
		alice := w.online(w.alice, "phone", nil)
		alice.sends(w.bob, "m1")
		before := alice.state(w.bob)
		for name, frame := range frames[w.codec] {
			t.Run(name, func(t *testing.T) {
				c := w.device(t, w.bob, "phone", w.codec)
				c.Connect(wstest.DialOptions{}) // before a login
				c.SendRaw(frame)
				c.ExpectClose(4400)
				c.Login(nil) // and after one
				c.Sync()
				c.SendRaw(frame)
				c.ExpectClose(4400)
			})
		}
		t.Run("frame of the other kind", func(t *testing.T) {
			c := w.device(t, w.bob, "phone", w.codec)
			c.Connect(wstest.DialOptions{})
			ctx, cancel := c.Context()
			defer cancel()
			other := wstest.JSON
			if w.codec == other {
				other = wstest.Msgpack
			}
			frame, err := other.Encode(obj{"id": 1, "op": "ping"})
			c.Must(err, "encode")
			c.Must(c.Conn.WS.Write(ctx, other.Frame, frame), "write")
			c.ExpectClose(4400)
		})
		check(t, "state", alice.state(w.bob), before)
	})
}

func TestContractFrameSize(t *testing.T) {
	t.Parallel()
	for flag, limit := range map[string]int{
		"--max-body=12KiB": 88 << 10,
		"--max-body=100":   88 << 10, // the largest createGroup fits
		"--max-body=32KiB": 208 << 10,
	} {
		t.Run(flag, func(t *testing.T) {
			eachCodec(t, harness.Start(t, flag), func(t *testing.T, w *world) {
				c := w.device(t, w.bob, "phone", w.codec)
				check(t, "maxFrame", wstest.Num(t, c.Login(nil)["limits"].(obj), "maxFrame"), limit)
				if _, err := c.Answer(1000, wstest.FrameOfSize(t, w.codec, 1000, limit)); err != nil { // unknown keys are ignored
					t.Fatalf("a frame of %d bytes: %v", limit, err)
				}
				c.SendRaw(wstest.FrameOfSize(t, w.codec, 1001, limit+1))
				c.ExpectClose(1009)
				if reason := c.Conn.CloseReason(); !strings.Contains(reason, fmt.Sprint(limit)) {
					t.Errorf("reason %q does not name the limit, %d", reason, limit)
				}
			})
		})
	}
}

// Whatever maxBody allows fits into a frame, however long its JSON is.
func TestContractLongestBodies(t *testing.T) {
	t.Parallel()
	for flag, maxBody := range map[string]int{"--max-body=12KiB": 12 << 10, "--max-body=32KiB": 32 << 10} {
		t.Run(flag, func(t *testing.T) {
			eachCodec(t, harness.Start(t, flag), func(t *testing.T, w *world) {
				mentions := make([]any, 100)
				for i := range mentions {
					mentions[i] = fmt.Sprintf("%064d", i)
				}
				control := strings.Repeat("\x01", maxBody-3) // a header of three bytes
				falses := make([]any, maxBody-3)
				for i := range falses {
					falses[i] = false
				}
				alice := w.online(w.alice, "phone", nil)
				bob := w.online(w.bob, "phone", nil)
				for cid, body := range map[string]any{
					strings.Repeat("\x01", 64): control, // the longest JSON of a cid, too
					"list":                     falses,
					"binary":                   bytes.Repeat([]byte{7}, maxBody-3),
				} {
					sent := alice.sendBody(w.bob, cid, body, obj{"mentions": mentions})
					bob.OnNewMessage(bob.Expect("onNewMessage"))
					got, _ := bob.History("u:"+w.alice, obj{"limit": 1})
					check(t, "body", got[0].Body, sent.args["body"])
				}
				alice.Refused("send", obj{"conv": "u:" + w.bob, "cid": "over", "body": control + "\x01"}, "too_large")
				// The largest request of another kind.
				members := make([]any, 500)
				for i := range members {
					members[i] = fmt.Sprintf("%060d.", i) + w.codec.Name()[:3]
				}
				properties := obj{"p": strings.Repeat("\x01", 8<<10-6)}
				alice.Request("createGroup", obj{
					"kind": "private", "maxMembers": 1000, "name": strings.Repeat("\x01", 256), "members": members, "properties": properties,
				})
			})
		})
	}
}

// Text that is not UTF-8 is no text frame, wherever the bytes lie.
func TestContractText(t *testing.T) {
	t.Parallel()
	w := newWorld(t, harness.Start(t), wstest.JSON)
	alice := w.online(w.alice, "phone", nil)
	for where, frame := range map[string]string{
		"op":          `{"id":1,"op":"p%sng"}`,
		"known arg":   `{"id":1,"op":"send","args":{"conv":"u:alice.json","cid":"%s","body":1}}`,
		"body":        `{"id":1,"op":"send","args":{"conv":"u:alice.json","cid":"1","body":"%s"}}`,
		"unknown arg": `{"id":1,"op":"ping","args":{"x":"%s"}}`,
		"unknown key": `{"id":1,"op":"ping","%s":1}`,
		"no JSON":     `%s`,
	} {
		for _, bad := range []string{"\xff", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82"} {
			c := w.device(t, w.bob, "phone", w.codec)
			c.Login(nil)
			c.Sync()
			c.SendRaw(fmt.Appendf(nil, frame, bad))
			c.ExpectClose(1007)
		}
		t.Logf("%s: closed with 1007", where)
	}
	alice.Idle() // nothing was stored
}

func TestContractIDInUse(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t), func(t *testing.T, w *world) {
		const frames = 48
		alice := w.online(w.alice, "phone", nil)
		ws, _, err := w.dialRaw(&websocket.DialOptions{Subprotocols: []string{w.codec.Subprotocol}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := alice.Context()
		defer cancel()
		write := func(frame obj) {
			t.Helper()
			b, err := w.codec.Encode(frame)
			if err == nil {
				err = ws.Write(ctx, w.codec.Frame, b)
			}
			alice.Must(err, "write")
		}
		replies := func(n int) (list []obj) {
			t.Helper()
			for len(list) < n {
				_, b, err := ws.Read(ctx)
				alice.Must(err, "read")
				frame, err := w.codec.Decode(b)
				alice.Must(err, "decode")
				if frame["id"] != nil {
					list = append(list, frame)
				}
			}
			return list
		}
		bob := w.device(t, w.bob, "phone", w.codec)
		write(obj{"id": 1, "op": "login", "args": bob.LoginArgs(nil)})
		replies(1)
		for i := range frames {
			write(obj{"id": 9, "op": "send", "args": obj{"conv": "u:" + w.alice, "cid": fmt.Sprint(i), "body": i}})
		}
		stored, inUse := 0, 0
		for _, r := range replies(frames) {
			check(t, "id", r["id"], int64(9))
			if e, ok := r["err"].(obj); ok {
				check(t, "code", e["code"], "bad_request")
				namesField(t, &wstest.Error{Code: "bad_request", Message: wstest.Str(t, e, "message")}, "id")
				inUse++
			} else {
				stored++
			}
		}
		if inUse == 0 || stored == 0 {
			t.Errorf("%d requests under one id: %d stored, %d refused", frames, stored, inUse)
		}
		w.arrived(w.alice, "u:"+w.bob, int64(stored))
		_, page := alice.History("u:"+w.bob, nil)
		check(t, "stored", page["to"], stored)
		// Answered, an id may be used anew.
		write(obj{"id": 9, "op": "ping"})
		check(t, "ping", replies(1)[0], obj{"id": 9, "ok": obj{"serverTime": someInt}})
	})
}

func TestContractHTTP(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t, "--allowed-origins=app.example.com"), func(t *testing.T, w *world) {
		for origin, want := range map[string]int{
			"http://" + w.Listen:       http.StatusSwitchingProtocols,
			"https://app.example.com":  http.StatusSwitchingProtocols,
			"https://evil.example.com": http.StatusForbidden,
			"https://example.com":      http.StatusForbidden,
			"null":                     http.StatusForbidden,
		} {
			_, resp, err := w.dialRaw(&websocket.DialOptions{
				Subprotocols: []string{w.codec.Subprotocol},
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
	w := newWorld(t, harness.Start(t), wstest.JSON)
	for _, offered := range [][]string{nil, {"belfry.v2.json", "belfry.v1.json"}} {
		ws, _, err := w.dialRaw(&websocket.DialOptions{Subprotocols: offered})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := w.device(t, "", "", nil).Context()
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
	frame, err := wstest.DecodeJSON(b)
	if err != nil {
		t.Fatal(err)
	}
	check(t, "reply", frame, want)
}
