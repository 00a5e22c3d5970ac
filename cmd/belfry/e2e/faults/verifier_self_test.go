package faults

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/wstest"
)

// TestVerifierCatches plants one bug at a time into what alice and bob see of a
// short conversation and requires that some check of the kill test reports it.
func TestVerifierCatches(t *testing.T) {
	message := func(from string, seq int64) obj {
		return obj{
			"id": fmt.Sprintf("id-%s-%d", from, seq), "conv": "u:" + from, "from": from, "seq": seq,
			"time": 1000 + seq, "cid": fmt.Sprintf("%s-%d", from, seq), "body": obj{"n": seq},
		}
	}
	for _, c := range []struct {
		bug  string
		want string // part of the report; empty for no bug
		// plant alters what bob is pushed and what his history holds.
		plant func(pushed, history []obj) ([]obj, []obj)
	}{
		{"none", "", func(p, h []obj) ([]obj, []obj) { return p, h }},
		{"pushed twice", "", func(p, h []obj) ([]obj, []obj) { return append(p, p...), h }},
		{"lost", "want 3 in the order sent", func(p, h []obj) ([]obj, []obj) { return p[:2], h }},
		{"hole", "but none of seq", func(p, h []obj) ([]obj, []obj) { return []obj{p[0], p[2]}, h }},
		{"order", "seq 1 came after 2", func(p, h []obj) ([]obj, []obj) { return []obj{p[1], p[0], p[2]}, h }},
		{"two ids for one seq", "seq 1 is", func(p, h []obj) ([]obj, []obj) { return append(p, wstest.Merged(p[0], obj{"id": "other"})), h }},
		{"stored twice", "want 3 in the order sent", func(p, h []obj) ([]obj, []obj) {
			twin := wstest.Merged(p[2], obj{"id": "twin", "seq": int64(4)})
			return append(p, twin), append(h, twin)
		}},
		{"altered", "with body", func(p, h []obj) ([]obj, []obj) {
			p[1] = wstest.Merged(p[1], obj{"body": obj{"n": int64(9)}})
			return p, h
		}},
		{"altered on repeat", "then as", func(p, h []obj) ([]obj, []obj) { return append(p, wstest.Merged(p[0], obj{"time": int64(5)})), h }},
		{"history lost", "history of u:alice has 2 messages, want 3", func(p, h []obj) ([]obj, []obj) { return p, h[:2] }},
		{"history altered", "never sent", func(p, h []obj) ([]obj, []obj) { h[0] = wstest.Merged(h[0], obj{"body": nil}); return p, h }},
		{"history of another time", "was pushed as", func(p, h []obj) ([]obj, []obj) { h[2] = wstest.Merged(h[2], obj{"time": int64(5000)}); return p, h }},
		{"time backwards", "runs backwards", func(p, h []obj) ([]obj, []obj) { h[0] = wstest.Merged(h[0], obj{"time": int64(5000)}); return p, h }},
	} {
		t.Run(c.bug, func(t *testing.T) {
			run := &killRun{}
			alice, bob := newVerifier(run, "alice"), newVerifier(run, "bob")
			run.all = []*verifier{alice, bob}
			var pushed, history []obj
			for seq := int64(1); seq <= 3; seq++ {
				m := message("alice", seq)
				sent := &outgoing{to: "bob", cid: m["cid"].(string), body: m["body"].(obj)}
				alice.sent = append(alice.sent, sent)
				if err := alice.answered(sent, m); err != nil {
					t.Fatal(err)
				}
				pushed, history = append(pushed, m), append(history, maps.Clone(m))
			}
			pushed, history = c.plant(pushed, history)

			var reports []string
			errorf := func(format string, args ...any) { reports = append(reports, fmt.Sprintf(format, args...)) }
			for _, m := range pushed {
				if err := bob.store(obj{"messages": []any{m}}); err != nil {
					errorf("%v", err)
				}
			}
			run.check(errorf)
			var list []any
			for _, m := range history {
				list = append(list, m)
			}
			stored, err := wstest.ParseMessages(list)
			if err != nil {
				t.Fatal(err)
			}
			run.checkHistory(errorf, bob, "u:alice", bob.views["u:alice"], stored)

			all := strings.Join(reports, "\n")
			if c.want == "" && all != "" || !strings.Contains(all, c.want) {
				t.Errorf("reports %q, want %q", all, c.want)
			}
		})
	}
}
