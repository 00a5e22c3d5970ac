package gateway

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
		v, err := readRuling(answer, maxBody)
		switch {
		case err != nil:
		case v.kind == refused:
			if v.body != nil || v.reason == "" || len(v.reason) > maxReason || !utf8.ValidString(v.reason) {
				t.Errorf("readRuling(%q) = %+v", answer, v)
			}
		case v.kind == accepted:
			if v.body == nil {
				return
			}
			again, err := protocol.CanonicalMsgpack(nil, v.body, maxBody)
			if err != nil || !bytes.Equal(again, v.body) {
				t.Errorf("readRuling(%q) has a body that is not canonical: %x, %v", answer, v.body, err)
			}
		default:
			t.Errorf("readRuling(%q) is no decision: %+v", answer, v)
		}
	})
}
