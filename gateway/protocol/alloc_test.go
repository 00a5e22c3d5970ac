package protocol

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// allocConstant is what decoding may allocate beyond eight times its input:
// errors, and the first room of tables that are reused.
const allocConstant = 16 << 10

// allocated is the number of bytes that f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.GC() // empties the pool of canonicalizers, over two cycles
	runtime.GC()
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func TestDecodingAllocatesABoundedMultiple(t *testing.T) {
	const size = 60000
	fill := func(unit string) string { return strings.Repeat(unit, size/len(unit)) }
	// list is a JSON list of as many units as fit.
	list := func(unit string) string { return "[" + strings.TrimSuffix(fill(unit+","), ",") + "]" }
	var keys strings.Builder
	for n := 0; keys.Len() < size; n++ {
		fmt.Fprintf(&keys, `"%x":0,`, n*7919%100003)
	}
	bodies := map[string]string{
		"text": `"` + fill("x") + `"`, "escapes": `"` + fill(`\n`) + `"`, "floats": list("1e9"), "maps": list("{}"),
		"nulls": list("null"), "one key": list(`{"a":0}`), "keys": "{" + strings.TrimSuffix(keys.String(), ",") + "}",
		"equal keys": "{" + strings.TrimSuffix(fill(`"":0,`), ",") + "}", "bin": `{"$bin":"` + fill("AAAA") + `"}`,
		"bins": list(`{"$bin":""}`), "deep": fill("[") + fill("]"),
	}
	for name, body := range bodies {
		for _, maxBody := range []int{DefaultMaxBody, MaxFrame} {
			frame := []byte(`{"id":1,"op":"send","args":{"conv":"u:b","cid":"c","body":` + body + `}}`)
			wantBounded(t, fmt.Sprintf("JSON body of %s, limit %d", name, maxBody), len(frame), func() {
				if r, err := DecodeRequest(JSON, frame); err == nil {
					_ = new(SendArgs).Decode(r.Args, maxBody)
				}
			})
		}
	}

	packed := map[string]string{
		"array of nils": "\xdd\x00\x00\xea\x60" + strings.Repeat("\xc0", size), "float32s": "\xdc\x27\x10" + strings.Repeat("\xca\x3f\x80\x00\x00", 10000),
		"equal keys":    "\xde\x75\x30" + strings.Repeat("\xa0\xc0", 30000),
		"equal, nested": "\xde\x3a\x98" + strings.Repeat("\xa0\x81\xa0\xc0", 15000),
		"array count":   "\xdd\x7f\xff\xff\xff" + strings.Repeat("\xc0", size), "map count": "\xdf\x7f\xff\xff\xff" + strings.Repeat("\xa0", size),
		"text length": "\xdb\x7f\xff\xff\xff", "deep": strings.Repeat("\x91", size) + "\xc0",
		"deep counts": strings.Repeat("\xdd\x00\x00\x40\x00", 30) + strings.Repeat("\xc0", size/2),
		"map counts":  strings.Repeat("\xdf\x00\x00\x40\x00\xa0", 30) + strings.Repeat("\xa0", size/2),
		"unsorted":    unsortedMap(12000), "wide text": "\xdb\x00\x00\xea\x60" + strings.Repeat("x", size),
	}
	for name, body := range packed {
		for _, maxBody := range []int{DefaultMaxBody, MaxFrame} {
			frame := []byte("\x82\xa2op\xa4send\xa4args\x83\xa4conv\xa3u:b\xa3cid\xa1c\xa4body" + body)
			wantBounded(t, fmt.Sprintf("msgpack body of %s, limit %d", name, maxBody), len(frame), func() {
				if r, err := DecodeRequest(Msgpack, frame); err == nil {
					_ = new(SendArgs).Decode(r.Args, maxBody)
				}
			})
			src := []byte(body)
			wantBounded(t, fmt.Sprintf("CanonicalMsgpack of %s, limit %d", name, maxBody), len(src), func() {
				_, _ = CanonicalMsgpack(nil, src, maxBody)
			})
		}
	}
}

// unsortedMap is a map of n keys in no order, with short values.
func unsortedMap(n int) string {
	var b strings.Builder
	b.WriteString("\xde" + string([]byte{byte(n >> 8), byte(n)}))
	for i := range n {
		k := i * 7919 % n
		b.WriteString("\xa2" + string([]byte{byte(k>>7) & 0x7f, byte(k & 0x7f)}) + "\xc0")
	}
	return b.String()
}

func TestDecodingListsAllocatesABoundedMultiple(t *testing.T) {
	const size = 60000
	list := func(unit string) string {
		return "[" + strings.TrimSuffix(strings.Repeat(unit+",", size/(len(unit)+1)), ",") + "]"
	}
	tests := []struct {
		into payload
		key  string
		unit string
	}{
		{&NewMessage{}, "messages", `{}`},
		{&NewMessage{}, "messages", testMessageText},
		{&PageOK{}, "messages", `{"a":0}`},
		{&PageOK{}, "gaps", `{}`},
		{&PageOK{}, "gaps", `{"from":1,"to":1,"reason":"x"}`},
		{&Synced{}, "conversations", `{}`},
		{&Synced{}, "conversations", `{"conv":"u:a"}`},
		{&Synced{}, "conversations", `{"conv":"u:a","last":{}}`},
		{&Synced{}, "lost", `{"conv":"u:a"}`},
		{&Recall{}, "ranges", `[1,1]`},
		{&MessageDeleted{}, "seqs", `1`},
		{&BlockedOK{}, "users", `"a"`},
		{&BlockedOK{}, "users", `"ab"`},
		{&BlockedOK{}, "users", `"\u0061b"`},
		{&MembersOK{}, "members", `{"user":"a"}`},
		{&GroupsOK{}, "groups", `{"group":"a"}`},
		{&GroupOK{}, "requests", `{"user":"a","time":0}`},
		{&GroupsOK{}, "groups", `{"group":"a","kind":"live","settings":{}}`},
		{&CreateGroupOK{}, "failed", `{"user":"a","code":"x"}`},
		{&AddMembersOK{}, "failed", `{"user":"a","code":"x"}`},
	}
	for _, tt := range tests {
		text := `{"` + tt.key + `":` + list(tt.unit) + `}`
		for _, codec := range codecs {
			data := encoded(t, codec, text)
			wantBounded(t, fmt.Sprintf("%s: %T of %s", codec.Name(), tt.into, tt.unit), len(data), func() {
				_ = tt.into.Decode(Raw{codec, data})
			})
		}
	}
	var cursors strings.Builder
	for n := range 8000 {
		fmt.Fprintf(&cursors, `"%x":"c",`, n)
	}
	text := `{"groupCursors":{` + strings.TrimSuffix(cursors.String(), ",") + `}}`
	for _, codec := range codecs {
		data := encoded(t, codec, text)
		wantBounded(t, codec.Name()+": groupCursors", len(data), func() { _ = new(NewMessage).Decode(Raw{codec, data}) })
	}
}

func wantBounded(t *testing.T, what string, input int, f func()) {
	t.Helper()
	limit := uint64(8*input + allocConstant)
	if raceEnabled { // which gives every short string a block of its own
		limit *= 2
	}
	if got := allocated(f); got > limit {
		t.Errorf("%s: %d bytes allocated for %d of input, want at most %d", what, got, input, limit)
	}
}

func TestEncodingAllocatesNothing(t *testing.T) {
	buf := make([]byte, 0, MaxFrame)
	m := testMessage()
	m.Mentions = []string{"a", "b"}
	push := NewMessage{D: 1, Messages: []Message{m, m}, Cursor: "c", GroupCursors: []GroupCursor{{"g", "c"}}}
	synced := Synced{Lost: []Lost{{UserConv("a"), 1, 2, 2}}, Conversations: []Conversation{{Conv: UserConv("a")}}, Groups: []Conversation{}}
	for _, codec := range codecs {
		for name, f := range map[string]func(){
			"onNewMessage": func() { buf = AppendNewMessage(buf[:0], codec, &push) },
			"writer": func() {
				w := BeginNewMessage(buf[:0], codec, 1)
				w.Add(&m, 10)
				buf = w.End("c", nil, 0)
			},
			"onSynced":      func() { buf = AppendSynced(buf[:0], codec, &synced) },
			"onReadReport":  func() { buf = AppendReadReport(buf[:0], codec, &ReadReport{UserConv("a"), 1}) },
			"onReadReceipt": func() { buf = AppendReadReceipt(buf[:0], codec, &ReadReceipt{UserConv("a"), 1, 2}) },
			"onTyping":      func() { buf = AppendTyping(buf[:0], codec, &Typing{"a", UserConv("a"), 2}) },
			"onPresence":    func() { buf = AppendPresence(buf[:0], codec, &Presence{"a", StatusOnline, 2}) },
			"send ok":       func() { buf = AppendSendOK(buf[:0], codec, 7, &SendOK{ID: testID, Seq: 1, Time: 2}) },
			"err":           func() { buf = AppendReplyErr(buf[:0], codec, 7, CodeNotFound, "conv is unknown", 0) },
		} {
			if n := testing.AllocsPerRun(100, f); n != 0 {
				t.Errorf("%s: %s allocates %v times, want 0", codec.Name(), name, n)
			}
		}
	}
}

func TestDecodingSendAllocatesItsStringsAlone(t *testing.T) {
	for codec, most := range map[Codec]float64{JSON: 3, Msgpack: 2} {
		frame := sendFrame(t, codec)
		n := testing.AllocsPerRun(100, func() { decodeSend(t, codec, frame) })
		// The race detector makes sync.Pool drop some of what it is given.
		if n > most && !raceEnabled {
			t.Errorf("%s: decoding send allocates %v times, want at most %v", codec.Name(), n, most)
		}
	}
	for _, codec := range codecs {
		frame := AppendRequest(nil, codec, 0, OpAck, &AckArgs{12345})
		n := testing.AllocsPerRun(100, func() {
			r, err := DecodeRequest(codec, frame)
			var a AckArgs
			if err != nil || a.Decode(r.Args) != nil || a.D != 12345 {
				t.Error("ack is lost")
			}
		})
		if n != 0 {
			t.Errorf("%s: decoding ack allocates %v times, want 0", codec.Name(), n)
		}
	}
}

func sendFrame(t testing.TB, codec Codec) []byte {
	body, err := EncodeBody(map[string]any{"type": "text", "text": strings.Repeat("hello ", 16), "n": 12, "at": 1.5})
	if err != nil {
		t.Fatal(err)
	}
	return AppendRequest(nil, codec, 77, OpSend, &SendArgs{Conv: UserConv("alice"), CID: "7d1c9f52-000123", Body: body})
}

func decodeSend(t testing.TB, codec Codec, frame []byte) {
	r, err := DecodeRequest(codec, frame)
	var a SendArgs
	if err != nil || a.Decode(r.Args, DefaultMaxBody) != nil || a.Conv.ID != "alice" {
		t.Error("send is lost")
	}
}
