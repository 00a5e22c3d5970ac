package main

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/belfry-im/belfry/client"
)

// TestAnswerAgain: an answer that an earlier process may have given names the same cid, and
// has the server look for it as far back as that can be.
func TestAnswerAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, test := range []struct {
			age   time.Duration
			retry bool
		}{{0, false}, {time.Minute - time.Millisecond, false}, {time.Minute, true}, {24 * time.Hour, true}, {-time.Second, true}} {
			m := client.Message{Time: time.Now().Add(-test.age).UnixMilli()}
			o := answer(m)
			if o.CID != "echo-"+m.ID.String() || o.Retry != test.retry {
				t.Errorf("to a message %v old: %+v, want retry %t", test.age, o, test.retry)
			}
		}
	})
}
