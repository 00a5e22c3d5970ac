package protocol

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/vmihailenco/msgpack/v5"
)

// The vectors are files for the tests of codecs in other languages; what is in them
// says testdata/README.md. They are made here, from the tables of this package's
// tests, so that they hold what the server writes and refuses.

// A frameVector is a line of frames.json and of bodies.json.
type frameVector struct {
	Name    string `json:"name"`
	Kind    string `json:"kind,omitempty"` // of a frame: request, notice, reply, error or push
	JSON    string `json:"json"`           // as the server writes it
	Msgpack string `json:"msgpack"`        // hex
	Accepts string `json:"accepts,omitempty"`
	Value   any    `json:"value"`
}

// A refusalVector is a line of refusals.json.
type refusalVector struct {
	Name  string `json:"name"`
	From  string `json:"from"` // client or server
	Codec string `json:"codec"`
	Text  string `json:"text,omitempty"`
	Hex   string `json:"hex,omitempty"` // instead of text
	Close int    `json:"close,omitempty"`
	Code  string `json:"code,omitempty"`
	Field string `json:"field,omitempty"`
}

func TestFrameVectors(t *testing.T) {
	var vectors []any
	add := func(name, kind string, encode func(Codec) []byte) {
		v := frameVector{Name: name, Kind: kind, JSON: string(encode(JSON)), Msgpack: hex.EncodeToString(encode(Msgpack))}
		v.Value = neutralJSON(t, v.JSON)
		wantNeutral(t, name, encode(Msgpack), v.Value)
		vectors = append(vectors, v)
	}
	for _, f := range goldenFrames() {
		add(f.name(), f.kind, f.encode)
	}
	for _, o := range Ops {
		if o.Notice {
			args := argsOf(o.Name)
			add(reflect.TypeOf(args).Elem().Name(), "notice", func(c Codec) []byte { return AppendRequest(nil, c, 0, o.Name, args) })
		}
	}
	add("NoOK", "reply", func(c Codec) []byte { return AppendReplyOK(nil, c, MaxInt, nil) })
	for i, code := range Codes {
		add(code, "error", func(c Codec) []byte { return AppendReplyErr(nil, c, 7, code, "conv: is \"none\"", int64(250*(i%2))) })
	}
	bare := Message{ID: testID, Conv: UserConv("alice"), From: "alice", Time: 5, CID: []byte("c-1"), Body: []byte{0xc0}}
	add("NewMessage", "push", func(c Codec) []byte {
		return appendPush(nil, c, &NewMessage{D: MaxInt, Messages: []Message{bare}})
	})
	add("PageOK", "reply", func(c Codec) []byte { return AppendReplyOK(nil, c, 1, &PageOK{}) })
	add("Synced", "push", func(c Codec) []byte { return appendPush(nil, c, &Synced{Cursor: "c"}) })
	for _, word := range []string{KickSameDevice, KickPolicy, KickAdmin} {
		add("Kicked", "push", func(c Codec) []byte { return appendPush(nil, c, &Kicked{Reason: word}) })
	}
	wantVectors(t, "frames.json", vectors)
}

// argsOf are those args in goldenRequests that an op is sent with.
func argsOf(op string) Args {
	for _, r := range goldenRequests {
		if r.op == op {
			return r.args
		}
	}
	panic("no golden request of " + op)
}

// TestFrameVectorsHaveAllOps: so each SDK's tests meet each of them.
func TestFrameVectorsHaveAllOps(t *testing.T) {
	for _, o := range Ops {
		argsOf(o.Name)
	}
}

func TestBodyVectors(t *testing.T) {
	var vectors []any
	for _, b := range canonicalBodies {
		packed := unhex(t, b.hex)
		v := frameVector{Name: fmt.Sprintf("%.40s", b.json), JSON: string(AppendBodyJSON(nil, packed)), Msgpack: b.hex}
		if v.JSON != b.json {
			v.Accepts = b.json
		}
		v.Value = neutralJSON(t, v.JSON)
		wantNeutral(t, b.json, packed, v.Value)
		if again := neutralJSON(t, b.json); !reflect.DeepEqual(again, v.Value) {
			t.Errorf("%s is %v as a client writes it, %v as the server does", b.json, again, v.Value)
		}
		vectors = append(vectors, v)
	}
	wantVectors(t, "bodies.json", vectors)
}

// maxVector is the longest refused frame that becomes a vector, in bytes. Longer ones
// show what deep nesting does to the server.
const maxVector = 2000

func TestRefusalVectors(t *testing.T) {
	var vectors []any
	add := func(name, from string, codec Codec, frame []byte) {
		if len(frame) > maxVector {
			return
		}
		v := refusalVector{Name: name, From: from, Codec: codec.Name()}
		if codec == JSON && utf8.Valid(frame) {
			v.Text = string(frame)
		} else {
			v.Hex = hex.EncodeToString(frame)
		}
		var args SendArgs
		var err error
		if from == "server" {
			_, err = DecodeServerFrame(codec, frame)
		} else {
			var r Request
			if r, err = DecodeRequest(codec, frame); err == nil {
				err = args.Decode(r.Args, DefaultMaxBody)
			}
		}
		if field, ok := errors.AsType[*FieldError](err); ok {
			v.Code, v.Field = field.Code, field.Field
		} else if _, ok := errors.AsType[*MalformedError](err); ok {
			v.Close = CloseMalformed
		} else {
			t.Errorf("%s: %q = %v, want a refusal", name, frame, err)
		}
		if v.Close != 0 && codec == JSON && !utf8.Valid(frame) {
			v.Close = 1007 // WebSocket's own rule of text comes before ours
		}
		vectors = append(vectors, v)
	}
	for _, m := range malformedJSON {
		add(m.name, "client", JSON, []byte(m.json))
	}
	for _, m := range malformedMsgpack {
		add(m.name, "client", Msgpack, unhex(t, m.hex))
	}
	for _, m := range malformedServerJSON {
		add(m.name, "server", JSON, []byte(m.json))
	}
	for _, b := range refusedJSON {
		if b.want.Code == CodeBadRequest {
			add("body/"+b.name, "client", JSON, fmt.Appendf(nil, `{"id":1,"op":"send","args":{"conv":"u:bob","cid":"c","body":%s}}`, b.json))
		}
	}
	for _, b := range refusedMsgpack {
		if b.want.Code == CodeBadRequest {
			add("body/"+b.name, "client", Msgpack, unhex(t, "83 a26964 01 a26f70 a473656e64 a461726773 83 a4636f6e76 a5753a626f62 a3636964 a163 a4626f6479"+b.hex))
		}
	}
	wantVectors(t, "refusals.json", vectors)
}

// wantVectors compares a file of testdata with one vector a line.
func wantVectors(t *testing.T, file string, vectors []any) {
	t.Helper()
	var lines []string
	for i, v := range vectors {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		if err := e.Encode(v); err != nil {
			t.Fatal(err)
		}
		line := strings.TrimSuffix(b.String(), "\n")
		if i < len(vectors)-1 {
			line += ","
		}
		lines = append(lines, line)
	}
	wantGolden(t, "testdata/"+file, slices.Concat([]string{"["}, lines, []string{"]"}))
}

// neutralJSON is what JSON text holds, in the notation of the vectors: plain JSON, but
// {"$float": "1.5"}, {"$int": "9223372036854775807"} beyond 2^53, and {"$bin": base64}.
func neutralJSON(t *testing.T, text string) any {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return neutral(t, v)
}

// wantNeutral decodes msgpack with a library that is not ours.
func wantNeutral(t *testing.T, name string, packed []byte, want any) {
	t.Helper()
	var v any
	if err := msgpack.Unmarshal(packed, &v); err != nil {
		t.Errorf("%s: the msgpack library refuses %x: %v", name, packed, err)
	} else if got := neutral(t, v); !reflect.DeepEqual(got, want) {
		t.Errorf("%s: msgpack holds %v, JSON %v", name, got, want)
	}
}

func neutral(t *testing.T, v any) any {
	t.Helper()
	switch v := v.(type) {
	case json.Number:
		if strings.ContainsAny(v.String(), ".eE") {
			f, err := v.Float64()
			if err != nil {
				t.Fatal(err)
			}
			return neutral(t, f)
		}
		return neutralInt(strings.TrimSuffix(v.String(), "-0"))
	case float64:
		return map[string]any{"$float": strconv.FormatFloat(v, 'g', -1, 64)}
	case []byte:
		return map[string]any{"$bin": base64.StdEncoding.EncodeToString(v)}
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = neutral(t, v[i])
		}
		return list
	case map[string]any:
		if bin, ok := v["$bin"].(string); ok && len(v) == 1 {
			return map[string]any{"$bin": bin}
		}
		m := make(map[string]any, len(v))
		for key := range maps.Keys(v) {
			m[key] = neutral(t, v[key])
		}
		return m
	}
	switch rv := reflect.ValueOf(v); {
	case rv.CanInt():
		return neutralInt(strconv.FormatInt(rv.Int(), 10))
	case rv.CanUint():
		return neutralInt(strconv.FormatUint(rv.Uint(), 10))
	}
	return v
}

func neutralInt(text string) any {
	if text == "" {
		text = "0" // it was -0
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil && -MaxInt <= n && n <= MaxInt {
		return json.Number(text)
	}
	return map[string]any{"$int": text}
}
