package link

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/belfry-im/belfry/raftstore/versions"
)

func TestFrames(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	word := func() []byte { return bytes.Repeat([]byte{'w'}, r.IntN(maxWord+1)) }
	var asks []ask
	var replies []reply
	for i := range 1000 {
		a := ask{
			call: uint64(i), kind: askKind(i) % askKinds, group: string(word()), replica: string(word()), term: r.Uint64(), version: 3,
			from: nilIfEmpty(word()), fromAddr: nilIfEmpty(word()),
		}
		if a.kind == askVote || a.kind == askPreVote {
			a.lastIndex, a.lastTerm, a.transfer = r.Uint64(), r.Uint64(), i%5 == 0
		}
		asks = append(asks, a)
		replies = append(replies, reply{call: uint64(i), failed: "failed"})
		replies = append(replies, reply{
			call: uint64(i), term: r.Uint64(), lastLog: r.Uint64(), yes: i%2 == 0, noWait: i%3 == 0,
			version: 3, from: nilIfEmpty(word()), fromAddr: nilIfEmpty(word()),
		})
	}
	status := bytes.Repeat([]byte{1}, MaxStatus)
	out := appendAlive(nil, alive{sent: 1, echo: -2, received: 3})
	out = appendStatus(out, status)
	out = appendItems(out, frameAsks, asks, appendAsk)
	out = appendItems(out, frameReplies, replies, appendReply)

	in := bytes.NewReader(out)
	var buf []byte
	var gotAsks []ask
	var gotReplies []reply
	for {
		frameType, body, b, err := readFrame(in, buf)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		buf = b
		f := fields{b: body}
		switch frameType {
		case frameAlive:
			if a, err := parseAlive(body); err != nil || a != (alive{1, -2, 3}) {
				t.Errorf("alive: %+v, %v", a, err)
			}
		case frameStatus:
			if !bytes.Equal(body, status) {
				t.Error("status differs")
			}
		case frameAsks:
			for f.more() {
				item := f.next()
				gotAsks = append(gotAsks, item.ask())
			}
		case frameReplies:
			for f.more() {
				item := f.next()
				gotReplies = append(gotReplies, item.reply())
			}
		}
		if f.err != nil {
			t.Fatal(f.err)
		}
	}
	if !reflect.DeepEqual(gotAsks, asks) || !reflect.DeepEqual(gotReplies, replies) {
		t.Errorf("%d asks and %d replies came back otherwise, of %d and %d", len(gotAsks), len(gotReplies), len(asks), len(replies))
	}
}

func nilIfEmpty(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return b
}

func TestFrameRefusals(t *testing.T) {
	for name, b := range map[string]string{
		"no type":     "\x00\x00\x00\x00\x01",
		"too long":    "\x00\x02\x00\x01\x01",
		"much longer": "\xff\xff\xff\xff\x01",
	} {
		if _, _, _, err := readFrame(strings.NewReader(b), nil); !errors.Is(err, errFrame) {
			t.Errorf("%s: %v, want errFrame", name, err)
		}
	}
	s := &session{}
	for name, frame := range map[string]struct {
		frameType byte
		body      string
	}{
		"short alive":      {frameAlive, strings.Repeat("x", 23)},
		"large status":     {frameStatus, strings.Repeat("x", MaxStatus+1)},
		"cut ask":          {frameAsks, "\x07\x01\x00\x02ab\x05c"},
		"cut item":         {frameAsks, "\x08\x01\x00\x02ab\x01c"},
		"empty ask":        {frameAsks, "\x00"},
		"cut reply":        {frameReplies, "\x03\x01\x00\x01"},
		"flags":            {frameReplies, "\x08\x01\x00\x01\x01\x04\x00\x00\x00"},
		"number too large": {frameReplies, strings.Repeat("\xff", 11)},
		"word too long":    {frameReplies, "\x81\x02\x01\xff" + strings.Repeat("x", 255)},
		"unknown":          {99, "anything"},
	} {
		if err := s.take(frame.frameType, []byte(frame.body)); !errors.Is(err, errFrame) {
			t.Errorf("%s: %v, want errFrame", name, err)
		}
	}
}

// What a later version adds is passed over where it may be; a question that is not known
// is answered.
func TestFramesOfNextVersion(t *testing.T) {
	s := &session{
		clock: new(clock), wake: make(chan struct{}, 1), calls: map[uint64]*askCall{7: {reply: make(chan reply, 1)}},
		peer: &peer{link: &Link{config: Config{Now: time.Now, Silence: time.Second}}},
	}
	take := func(frameType byte, fields []byte) {
		t.Helper()
		if err := s.take(frameType, fields); err != nil {
			t.Errorf("a frame of type %d: %v", frameType, err)
		}
	}
	take(versions.Optional, []byte("anything"))
	take(frameAlive, appendAlive(nil, alive{sent: 5})[5:])
	take(frameAlive, append(appendAlive(nil, alive{sent: 6})[5:], "more"...))
	if s.echo.echo != 6 {
		t.Errorf("of a longer keep-alive came %d, want 6", s.echo.echo)
	}

	answered := s.calls[7].reply
	longer := func(b []byte, r reply) []byte { return append(appendReply(b, r), "more"...) }
	take(frameReplies, appendItems(nil, frameReplies, []reply{{call: 6, yes: true}, {call: 7, term: 9, yes: true}}, longer)[5:])
	if r := <-answered; r.term != 9 || !r.yes {
		t.Errorf("a longer reply arrives as %+v", r)
	}

	unknown := func(b []byte, a ask) []byte { return append(appendAsk(b, a), "more"...) }
	take(frameAsks, appendItems(nil, frameAsks, []ask{{call: 3, kind: askKinds, group: "g"}, {call: 4, kind: 200}}, unknown)[5:])
	if len(s.replies) != 2 || s.replies[0].call != 3 || s.replies[1].call != 4 || !strings.Contains(s.replies[0].failed, "kind 4 is not known: the node that is asked is older") {
		t.Errorf("unknown questions are answered with %+v", s.replies)
	}
}

func FuzzFrames(f *testing.F) {
	f.Add(appendAlive(nil, alive{1, 2, 3}))
	f.Add(appendStatus(nil, []byte("status")))
	f.Add(appendItems(nil, frameAsks, []ask{{call: 1, group: "g", replica: "r", term: 2, version: 3, from: []byte("a")}, {kind: askVote, lastIndex: 7}}, appendAsk))
	f.Add(appendItems(nil, frameReplies, []reply{{call: 1, failed: "no"}, {call: 2, term: 3, yes: true}}, appendReply))
	f.Fuzz(func(t *testing.T, b []byte) {
		frameType, body, _, err := readFrame(bytes.NewReader(b), nil)
		if err != nil {
			return
		}
		x := fields{b: body}
		switch frameType {
		case frameAlive:
			if a, err := parseAlive(body); err == nil && !bytes.Equal(appendAlive(nil, a)[5:], body[:24]) {
				t.Errorf("alive %+v is written otherwise", a)
			}
		case frameAsks:
			for x.more() {
				item := x.next()
				one := item.ask()
				again := fields{b: appendAsk(nil, one)}
				if item.err == nil && one.kind < askKinds && !reflect.DeepEqual(again.ask(), one) {
					t.Errorf("ask %+v comes back otherwise", one)
				}
			}
		case frameReplies:
			for x.more() {
				item := x.next()
				one := item.reply()
				again := fields{b: appendReply(nil, one)}
				if item.err == nil && !reflect.DeepEqual(again.reply(), one) {
					t.Errorf("reply %+v comes back otherwise", one)
				}
			}
		}
	})
}

func TestHelloRefusals(t *testing.T) {
	speaks := versions.Set{versions.Link: versions.Only(2), versions.Watch: {Oldest: 2, Newest: 3}}
	good := hello{Speaks: maps.Clone(speaks), Cluster: testCluster, From: "1", Name: "a", To: "2"}
	for _, test := range []struct {
		name   string
		change func(*hello)
		code   string // "" = none
	}{
		{"nothing", func(*hello) {}, ""},
		{"a version that overlaps", func(h *hello) { h.Speaks[versions.Watch] = versions.Range{Oldest: 3, Newest: 4} }, ""},
		{"a protocol that is not known", func(h *hello) { h.Speaks["later"] = versions.Only(9) }, ""},
		{"newer", func(h *hello) { h.Speaks[versions.Watch] = versions.Range{Oldest: 4, Newest: 5} }, codeVersion},
		{"older", func(h *hello) { h.Speaks[versions.Link] = versions.Only(1) }, codeVersion},
		{"no versions", func(h *hello) { h.Speaks = nil }, codeVersion},
		{"no id", func(h *hello) { h.From = "" }, codeMalformed},
		{"no name", func(h *hello) { h.Name = "" }, codeMalformed},
		{"long group", func(h *hello) { h.Group = strings.Repeat("g", maxWord+1) }, codeMalformed},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := good
			h.Speaks = maps.Clone(speaks)
			test.change(&h)
			b, err := json.Marshal(h)
			if err != nil {
				t.Fatal(err)
			}
			b = append([]byte(`{"later":[1,{}],`), b[1:]...)
			_, err = parseHello(b, speaks)
			r, ok := errors.AsType[*refusal](err)
			if err == nil != (test.code == "") || ok && r.code != test.code {
				t.Errorf("parseHello: %v, want code %q", err, test.code)
			}
		})
	}
	for name, b := range map[string]string{"not JSON": "hello", "no object": "[]", "empty": ""} {
		if _, err := parseHello([]byte(b), speaks); err == nil {
			t.Errorf("%s: parsed", name)
		}
	}
	if _, err := readMessage(strings.NewReader("\xff\xff{}")); err == nil {
		t.Error("a hello of 64 KiB was read")
	}
	if err := writeMessage(io.Discard, "", welcome{Refused: strings.Repeat("x", maxHello)}); err == nil {
		t.Error("a welcome beyond maxHello was written")
	}
}

func FuzzHello(f *testing.F) {
	f.Add([]byte(`{"speaks":{"link":{"oldest":1,"newest":2}},"cluster":"c","from":"1","name":"a","to":"2","group":"g","boot":7}`))
	f.Add([]byte(`{"refused":"no"}`))
	f.Add([]byte(`{"speaks":{"link":{"oldest":1,"newest":1}},"id":"1","name":"a"}`))
	speaks := versions.Set{versions.Link: linkVersions}
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, err := parseHello(b, speaks); err == nil && h.Refused == "" {
			var out bytes.Buffer
			if err := writeMessage(&out, "", h); err != nil {
				t.Fatal(err)
			}
			body, err := readMessage(&out)
			if err != nil {
				t.Fatal(err)
			}
			if again, err := parseHello(body, speaks); err != nil || !reflect.DeepEqual(again, h) {
				t.Errorf("hello %+v comes back as %+v, %v", h, again, err)
			}
		}
		parseWelcome(b, speaks)
		readMessage(bytes.NewReader(b))
		readPreface(bytes.NewReader(b))
	})
}

func TestPreface(t *testing.T) {
	for _, k := range kinds {
		in := strings.NewReader(prefaceFor(k) + "rest")
		got, err := readPreface(in)
		rest, _ := io.ReadAll(in)
		if got != k || err != nil || string(rest) != "rest" {
			t.Errorf("%s: %q, %v, then %q", k, got, err, rest)
		}
	}
	for _, line := range []string{"belfry h3\n", "GET / HTTP/1.1\n", "\n", strings.Repeat("x", 100)} {
		if _, err := readPreface(strings.NewReader(line)); err == nil {
			t.Errorf("%q was read", line)
		}
	}
}
