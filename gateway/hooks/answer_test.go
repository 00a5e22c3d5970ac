package hooks

import "testing"

// TestAnswerNames: the members of a decision have exact names, each once.
func TestAnswerNames(t *testing.T) {
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
		v, err := readAnswer([]byte(answer), 1<<10)
		if (err == nil) != ok {
			t.Errorf("readAnswer(%s): %v, want ok = %t", answer, err, ok)
		}
		if err == nil && (v.Body != nil || (v.Kind == Refused) != (answer[13:19] == "refuse")) {
			t.Errorf("readAnswer(%s) = %+v", answer, v)
		}
	}
}
