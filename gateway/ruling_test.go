package gateway

import "testing"

// TestRulingNames: the members of a decision have exact names, each once.
func TestRulingNames(t *testing.T) {
	for answer, ok := range map[string]bool{
		`{"decision":"accept"}`:                         true,
		`{"Decision":"accept"}`:                         false,
		`{"decision":"refuse","Decision":"accept"}`:     true, // and refused
		`{"decision":"accept","decision":"refuse"}`:     false,
		`{"decision":"accept","body":1,"body":2}`:       false,
		`{"decision":"accept","Body":{"text":"other"}}`: true, // and unchanged
		`{"decision":["accept"]}`:                       false,
		`{"decision":"refuse","reason":7}`:              false,
		`{"decision":"accept"} x`:                       false,
	} {
		v, err := readRuling([]byte(answer), 1<<10)
		if (err == nil) != ok {
			t.Errorf("readRuling(%s): %v, want ok = %t", answer, err, ok)
		}
		if err == nil && (v.body != nil || (v.kind == refused) != (answer[13:19] == "refuse")) {
			t.Errorf("readRuling(%s) = %+v", answer, v)
		}
	}
}
