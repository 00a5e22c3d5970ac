package command

import (
	"reflect"
	"testing"

	"github.com/belfry-im/belfry/shard/codec"
)

// Every field of a result reaches another node.
func TestResultThereAndBack(t *testing.T) {
	full := Result{
		Code: CodeConflict, Detail: "detail", RetryAfterMS: 1, ID: MsgID{2}, Seq: 3, Time: -4, Duplicate: true,
		Unread: 5, Arrival: 6, Pending: true, Failed: []MemberFailure{{User: "a", Code: CodeForbidden}, {User: "b", Code: CodeNotFound}},
		Deleted: 7, NextSlot: 8, Session: 9, Reset: true, CursorArrival: 10, Kicked: []Kick{{User: "c", Session: 11, Reason: "policy"}},
	}
	for v, i := reflect.ValueOf(full), 0; i < v.NumField(); i++ {
		if v.Field(i).IsZero() {
			t.Errorf("the test leaves out %s", v.Type().Field(i).Name)
		}
	}
	for _, want := range []Result{full, {}} {
		w := codec.NewWriter(nil)
		want.Fields(&w)
		var got Result
		x := codec.NewReader(w.B)
		if got.Fields(&x); x.End() != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("read %+v, %v, want %+v", got, x.Err, want)
		}
		for n := range w.B {
			x := codec.NewReader(w.B[:n])
			if new(Result).Fields(&x); x.End() == nil {
				t.Errorf("%d of %d bytes are taken for a result", n, len(w.B))
			}
		}
	}
}
