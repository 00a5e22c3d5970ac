package contract

// The contract on bodies: what is refused, and that what is accepted comes back
// equal through either codec.

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/harness"
	"github.com/belfry-im/belfry/cmd/belfry/e2e/wstest"
)

func TestContractBodyRoundTrip(t *testing.T) {
	t.Parallel()
	big := make([]byte, 4096)
	for i := range big {
		big[i] = byte(i * 7)
	}
	var deep any = "deep"
	for range 32 {
		deep = []any{deep}
	}
	wide := obj{}
	for i := range 40 {
		wide[fmt.Sprintf("key %02d", i)] = int64(i)
	}
	// Each value as JSON text and as Go has it; in msgpack as its library packs
	// it, which is not always the shortest form.
	cases := []struct {
		name  string
		json  string
		value any
	}{
		{"null", `null`, nil},
		{"true", `true`, true},
		{"text", `"hello"`, "hello"},
		{"empty text", `""`, ""},
		{"text of all kinds", `"\u0000\b\f\n\r\t\"\\\/ <>&\u2028 é ☃ 😀"`, "\x00\b\f\n\r\t\"\\/ <>&\u2028 é ☃ 😀"},
		{"long text", `"` + strings.Repeat("é", 5000) + `"`, strings.Repeat("é", 5000)},
		{"0", `0`, int64(0)},
		{"minus 0", `-0`, int64(0)},
		{"-1", `-1`, int64(-1)},
		{"127", `127`, int64(127)}, {"128", `128`, int64(128)}, {"-32", `-32`, int64(-32)}, {"-33", `-33`, int64(-33)},
		{"-129", `-129`, int64(-129)}, {"65536", `65536`, int64(65536)}, {"2^32", `4294967296`, int64(1 << 32)},
		{"2^53+1", `9007199254740993`, int64(1<<53 + 1)},
		{"2^63-1", `9223372036854775807`, int64(math.MaxInt64)},
		{"2^63", `9223372036854775808`, uint64(1 << 63)},
		{"-2^63", `-9223372036854775808`, int64(math.MinInt64)},
		{"1.5", `1.5`, 1.5},
		{"3.0", `3.0`, 3.0},
		{"1e2", `1e2`, 100.0},
		{"0.0", `0.0`, 0.0},
		{"0.1", `0.1`, 0.1},
		{"1e21", `1e21`, 1e21},
		{"1e-7", `1E-7`, 1e-7},
		{"2^63 as a float", `9223372036854775808.0`, float64(1 << 63)},
		{"largest float", `1.7976931348623157e308`, math.MaxFloat64},
		{"smallest float", `5e-324`, math.SmallestNonzeroFloat64},
		{"binary", `{"$bin":"AAEC/v8="}`, []byte{0, 1, 2, 254, 255}},
		{"no bytes", `{"$bin":""}`, []byte{}},
		{"much binary", "", big},
		{"binary, deeper", `{"a":[{"$bin":"YQ=="}]}`, obj{"a": []any{[]byte("a")}}},
		{"$bin among others", `{"$bin":"YQ==","n":1}`, obj{"$bin": "YQ==", "n": int64(1)}},
		{"empty list", `[]`, []any{}},
		{"empty map", `{}`, obj{}},
		{"empty key", `{"":""}`, obj{"": ""}},
		{"list", ` [ 1 , [ ] , { } , null ] `, []any{int64(1), []any{}, obj{}, nil}},
		{"nested", `{"b":{"z":[1,2.0,"x",null,true],"é":-5},"a":{"$bin":"/w=="}}`,
			obj{"a": []byte{255}, "b": obj{"z": []any{int64(1), 2.0, "x", nil, true}, "é": int64(-5)}}},
		{"deep", "", deep},
		{"wide", "", wide},
	}
	eachCodec(t, harness.Start(t), func(t *testing.T, w *world) {
		// Bob listens in both codecs.
		alice := w.online(w.alice, "phone", nil)
		var bobs []*device
		for _, c := range wstest.Codecs {
			bob := w.device(t, w.bob, c.Name(), c)
			bob.Login(obj{"autoRead": false})
			bob.Sync()
			bobs = append(bobs, bob)
		}
		var m []sentMessage
		for i, c := range cases {
			wire := c.value
			if w.codec == wstest.JSON && c.json != "" {
				wire = json.RawMessage(c.json)
			}
			sent := alice.sendBody(w.bob, c.name, wire, nil)
			// The same value packed in another way is the same body.
			if w.codec == wstest.Msgpack {
				packed, err := packLong(c.value)
				alice.Must(err, "pack")
				check(t, c.name+" in its longest form",
					alice.Request("send", with(sent.args, obj{"body": msgpack.RawMessage(packed)})), with(sent.reply, obj{"duplicate": true}))
			}
			sent.args["body"] = c.value
			m = append(m, sent)
			for _, bob := range bobs {
				check(t, c.name+" live in "+bob.Codec.String(), bob.LiveMessage(), sent.at(w.bob, i+1))
			}
		}
		for _, bob := range bobs {
			got := bob.Request("getMessage", obj{"conv": "u:" + w.alice, "limit": 100})
			check(t, "getMessage in "+bob.Codec.String(), got, page(1, len(m), false, seenBy(w.bob, 1, m...)))
		}
	})
}

// The order of keys and the spelling are not part of a body, the kind of a
// number is.
func TestContractSameBody(t *testing.T) {
	t.Parallel()
	w := newWorld(t, harness.Start(t), wstest.JSON)
	alice := w.online(w.alice, "phone", nil)
	packs := w.device(t, w.alice, "laptop", wstest.Msgpack)
	packs.Login(nil)
	packs.Sync()
	first := alice.sendBody(w.bob, "c", json.RawMessage(`{"b":[1,2.0],"a":"\u0061\/","bin":{"$bin":"YQ=="}}`), nil)
	duplicate := with(first.reply, obj{"duplicate": true})
	for _, same := range []string{
		`{"a":"a/","b":[1,2.0],"bin":{"$bin":"YQ=="}}`,
		` { "bin" : {"$bin":"YQ=="}, "b" : [ 1 , 20e-1 ] , "a" : "a/" } `,
	} {
		check(t, same, alice.Request("send", with(first.args, obj{"body": json.RawMessage(same)})), duplicate)
	}
	body := obj{"a": "a/", "b": []any{1, 2.0}, "bin": []byte("a")}
	check(t, "by msgpack", packs.Request("send", with(first.args, obj{"body": body})), duplicate)
	for _, other := range []string{
		`{"a":"a/","b":[1,2],"bin":{"$bin":"YQ=="}}`,
		`{"a":"a/","b":[1.0,2.0],"bin":{"$bin":"YQ=="}}`,
		`{"a":"a/","b":[1,2.0],"bin":"YQ=="}`,
		`{"a":"a/","b":[1,2.0],"bin":{"$bin":"YQ=="},"c":null}`,
		`null`,
	} {
		alice.Refused("send", with(first.args, obj{"body": json.RawMessage(other)}), "conflict")
	}
}

// packLong packs v with the longest headers that msgpack has.
func packLong(v any) ([]byte, error) {
	var b []byte
	header := func(code byte, n int) { b = append(b, code, byte(n>>24), byte(n>>16), byte(n>>8), byte(n)) }
	switch v := v.(type) {
	case string:
		header(0xdb, len(v))
		return append(b, v...), nil
	case []byte:
		header(0xc6, len(v))
		return append(b, v...), nil
	case []any:
		header(0xdd, len(v))
		for _, e := range v {
			packed, err := packLong(e)
			if err != nil {
				return nil, err
			}
			b = append(b, packed...)
		}
		return b, nil
	case obj:
		header(0xdf, len(v))
		for key, e := range v {
			header(0xdb, len(key))
			b = append(b, key...)
			packed, err := packLong(e)
			if err != nil {
				return nil, err
			}
			b = append(b, packed...)
		}
		return b, nil
	case int64:
		if v < 0 {
			header(0xd3, int(v>>32))
		} else {
			header(0xcf, int(v>>32))
		}
		return append(b, byte(v>>24), byte(v>>16), byte(v>>8), byte(v)), nil
	}
	return msgpack.Marshal(v)
}

func TestContractBodies(t *testing.T) {
	t.Parallel()
	nest := func(depth int) any {
		var v any = []any{}
		for range depth - 1 {
			v = []any{v}
		}
		return v
	}
	text := func(n int) string { return strings.Repeat("x", n) }
	ofJSON := func(s string) any { return json.RawMessage(s) }
	ofMsgpack := func(parts ...any) any { return msgpack.RawMessage(pack(t, parts...)) }
	raw := func(s string) msgpack.RawMessage { return msgpack.RawMessage(s) }

	type cases map[string]any
	bad := map[*wstest.Codec]cases{
		wstest.JSON: {
			"depth 33":              nest(33),
			"depth 33 of maps":      ofJSON(strings.Repeat(`{"a":`, 33) + "1" + strings.Repeat("}", 33)),
			"duplicate key":         ofJSON(`{"a":1,"a":2}`),
			"duplicate by escape":   ofJSON(`{"a":1,"\u0061":2}`),
			"duplicate, deeper":     ofJSON(`[{"x":{"b":1,"c":1,"b":1}}]`),
			"infinite":              ofJSON(`1e999`),
			"infinite, negative":    ofJSON(`{"x":-1e999}`),
			"above 2^63":            ofJSON(`9223372036854775809`),
			"below -2^63":           ofJSON(`-9223372036854775809`),
			"far above":             ofJSON(`100000000000000000000000`),
			"lone surrogate":        ofJSON(`"\ud800"`),
			"lone low surrogate":    ofJSON(`"\udc00x"`),
			"lone surrogate as key": ofJSON(`{"\ud800":1}`),
			"$bin is no text":       ofJSON(`{"$bin":7}`),
			"$bin is no base64":     ofJSON(`{"$bin":"!!!!"}`),
			"$bin without padding":  ofJSON(`{"$bin":"YQ"}`),
			"$bin is null, deeper":  ofJSON(`[{"$bin":null}]`),
		},
		wstest.Msgpack: {
			"depth 33":          nest(33),
			"duplicate key":     ofMsgpack(fixMap(2), "a", 1, "a", 2),
			"NaN":               ofMsgpack(raw("\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00")),
			"NaN, 32 bits":      ofMsgpack(raw("\xca\x7f\xc0\x00\x00")),
			"infinite":          ofMsgpack(raw("\xcb\x7f\xf0\x00\x00\x00\x00\x00\x00")),
			"infinite, 32 bits": ofMsgpack(fixMap(1), "x", raw("\xca\xff\x80\x00\x00")),
			"above 2^63":        uint64(1)<<63 + 1,
			"ext":               ofMsgpack(raw("\xd4\x05\x00")),
			"timestamp":         ofMsgpack(raw("\xd6\xff\x00\x00\x00\x00")),
			"ext, deeper":       ofMsgpack(raw("\x91\xc7\x00\x01")),
			"key is a number":   ofMsgpack(fixMap(1), 1, 1),
			"key is binary":     ofMsgpack(fixMap(1), []byte("a"), 1),
			"key is nil":        ofMsgpack(fixMap(1), nil, 1),
			"key is no UTF-8":   obj{"a\xff": 1},
			"text is no UTF-8":  "a\xff",
			"surrogate":         "\xed\xa0\x80",
			"$bin alone":        obj{"$bin": "YQ=="},
			"$bin alone, deep":  []any{obj{"$bin": 7}},
		},
	}
	// {"b": text} is a map header, a key of 2 bytes and a text header of 3.
	fits, tooLarge := obj{"b": text(12<<10 - 6)}, obj{"b": text(12<<10 - 5)}
	good := map[*wstest.Codec]cases{
		wstest.JSON: {
			"12 KiB": fits, "depth 32": nest(32), "null": nil, "empty text": "", "empty map": obj{}, "false": false,
			"$bin among others": ofJSON(`{"$bin":7,"a":1}`), "2^63": ofJSON(`9223372036854775808`),
			"-2^63": ofJSON(`-9223372036854775808`), "pair": ofJSON(`"\ud83d\ude00"`),
			// What is large in JSON may be small as stored.
			"escapes": ofJSON(`"` + strings.Repeat(`\u0061`, 10<<10) + `"`),
		},
		wstest.Msgpack: {
			"12 KiB": fits, "depth 32": nest(32), "nil": nil, "empty text": "", "empty map": obj{}, "zero": 0,
			"$bin among others": obj{"$bin": 7, "a": 1}, "2^63": uint64(1) << 63, "-2^63": int64(-1 << 63),
			"12 KiB of long headers": ofMsgpack(raw("\xdb\x00\x00\x2f\xfd"), raw(text(12<<10-3))),
			"float of 32 bits":       float32(1.5),
		},
	}
	eachCodec(t, harness.Start(t), func(t *testing.T, w *world) {
		alice := w.online(w.alice, "phone", nil)
		alice.sends(w.bob, "m1")
		before := alice.state(w.bob)
		args := obj{"conv": "u:" + w.bob, "cid": "bad"}
		for name, body := range bad[w.codec] {
			err := alice.refusedBody(name, with(args, obj{"body": body}), "bad_request")
			namesField(t, err, "body")
		}
		for name, body := range map[string]any{
			"12 KiB + 1": tooLarge,
			"much more":  text(40 << 10),
			"binary":     make([]byte, 12<<10),
		} {
			alice.refusedBody(name, with(args, obj{"body": body}), "too_large")
			alice.refusedBody(name+", ttl 0", with(args, obj{"body": body, "ttl": 0}), "too_large")
		}
		check(t, "state", alice.state(w.bob), before)
		for name, body := range good[w.codec] {
			if _, err := alice.Try("send", obj{"conv": "u:" + w.bob, "cid": name, "body": body}); err != nil {
				t.Errorf("body %s: %v", name, err)
			}
		}
		check(t, "stored", wstest.Num(t, alice.Request("getMessage", obj{"conv": "u:" + w.bob}), "to"), 1+len(good[w.codec]))
	})
}

// refusedBody is refused without the body in the failure's text.
func (c *device) refusedBody(name string, args obj, code string) *wstest.Error {
	c.T.Helper()
	_, err := c.Try("send", args)
	if err == nil {
		c.T.Errorf("body %s: sent, want %s", name, code)
		return &wstest.Error{Message: "body"}
	}
	if err.Code != code {
		c.T.Errorf("body %s: %v, want %s", name, err, code)
	}
	return err
}
