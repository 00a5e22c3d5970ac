package hooks

import (
	"bytes"
	"testing"
	"unicode/utf8"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// FuzzReadRuling reads answers of receivers: what is taken is a decision with a
// reason or a body that could be sent.
func FuzzReadRuling(f *testing.F) {
	for _, seed := range []string{
		`{"decision":"accept"}`, `{"decision":"accept","body":{"a":[1,2.5,{"$bin":"AA=="}]}}`, `{"decision":"accept","body":null}`,
		`{"decision":"refuse","reason":"no"}`, `{"decision":"refuse"}`, `{"decision":1}`, `[]`, `{"decision":"accept","body":{"a":1,"a":2}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		const maxBody = 200
		v, err := readAnswer(answer, maxBody)
		switch {
		case err != nil:
		case v.Kind == Refused:
			if v.Body != nil || v.Reason == "" || len(v.Reason) > maxReason || !utf8.ValidString(v.Reason) {
				t.Errorf("readAnswer(%q) = %+v", answer, v)
			}
		case v.Kind == Accepted:
			if v.Body == nil {
				return
			}
			again, err := protocol.CanonicalMsgpack(nil, v.Body, maxBody)
			if err != nil || !bytes.Equal(again, v.Body) {
				t.Errorf("readAnswer(%q) has a body that is not canonical: %x, %v", answer, v.Body, err)
			}
		default:
			t.Errorf("readAnswer(%q) is no decision: %+v", answer, v)
		}
	})
}
