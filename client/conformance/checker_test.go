package conformance

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestChecker: each rule is broken once, and kept once.
func TestChecker(t *testing.T) {
	n := func(i string) json.Number { return json.Number(i) }
	pushed := func(d, seq string) *Frame {
		return &Frame{Conn: 1, Op: "onNewMessage", Body: Obj{"d": n(d), "messages": []any{Obj{"conv": "u:al", "seq": n(seq)}}}}
	}
	ack := func(d string) *Frame { return &Frame{Conn: 1, FromClient: true, Op: "ack", Body: Obj{"d": n(d)}} }
	ask := &Frame{Conn: 1, FromClient: true, ID: 7, Op: "getMessage", Body: Obj{"conv": "u:al"}}
	page := func(from, to string) *Frame {
		return &Frame{Conn: 1, Reply: true, ID: 7, Op: "getMessage", Body: Obj{"from": n(from), "to": n(to)}, request: ask}
	}
	send := func(body any) *Frame {
		return &Frame{Conn: 1, FromClient: true, Op: "send", Body: Obj{"conv": "u:al", "cid": "c", "body": body}}
	}
	for name, tt := range map[string]struct {
		frames []*Frame
		want   string // begins the violation; empty if there is none
	}{
		"ack":                  {[]*Frame{pushed("1", "1"), pushed("2", "2"), ack("2")}, ""},
		"ack of nothing":       {[]*Frame{ack("1")}, "ack of 1 after 0, with 0 pushed"},
		"ack twice":            {[]*Frame{pushed("1", "1"), ack("1"), ack("1")}, "ack of 1 after 1"},
		"page":                 {[]*Frame{pushed("1", "4"), ack("1"), ask, page("1", "3")}, ""},
		"page of what is held": {[]*Frame{pushed("1", "3"), ack("1"), ask, page("1", "3")}, "the device has 3"},
		"page twice":           {[]*Frame{ask, page("1", "3"), ask, page("3", "3")}, "the device has 3"},
		"not held before":      {[]*Frame{pushed("1", "3"), ask, ack("1"), page("1", "3")}, ""},
		"send again":           {[]*Frame{send("x"), send("x")}, ""},
		"send something else":  {[]*Frame{send("x"), send("y")}, "u:al c was sent as"},
	} {
		var c checker
		c.reset()
		c.connected(1)
		for _, f := range tt.frames {
			c.see(f)
		}
		if got := strings.Join(c.violations, "; "); !strings.HasPrefix(got, tt.want) || (got == "") != (tt.want == "") {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}
