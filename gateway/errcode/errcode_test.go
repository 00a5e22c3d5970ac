package errcode

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
)

func TestTableHasAllCodes(t *testing.T) {
	var codes []string
	for _, r := range table {
		codes = append(codes, r.code)
	}
	if !slices.Equal(codes, protocol.Codes) {
		t.Errorf("the table has %q, package protocol %q", codes, protocol.Codes)
	}
	for _, c := range []command.Code{command.OK, command.CodeMoved, command.CodeGap} { // what only the store itself gets
		if got := OfStore(c); got != protocol.CodeInternal {
			t.Errorf("OfStore(%d) = %s, want internal", c, got)
		}
	}
	if s := Status("none"); s != 0 {
		t.Errorf("Status of no code = %d, want 0", s)
	}
}

func TestOf(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want Refusal
	}{
		{&protocol.FieldError{Code: protocol.CodeTooLarge, Field: "body", Rule: "must be small"}, Refusal{protocol.CodeTooLarge, "body: must be small", 0}},
		{fmt.Errorf("x: %w", &command.RefusedError{Code: command.CodeTooLate, Detail: "seq: too late", RetryAfterMS: 5}), Refusal{protocol.CodeTooLate, "seq: too late", 5 * time.Millisecond}},
		{&command.RefusedError{Code: command.CodeOvertaken, Detail: "op: late", RetryAfterMS: 1000}, Refusal{protocol.CodeUnavailable, "op: late", time.Second}},
		{&command.RefusedError{Code: command.CodeMoved, Detail: "slot"}, Refusal{protocol.CodeInternal, "op: the server failed; it has logged why", 0}},
		{store.Unavailable(time.Second, "no leader"), Refusal{protocol.CodeUnavailable, "op: the server cannot do this right now; repeating it is safe", time.Second}},
		{context.Canceled, Refusal{protocol.CodeUnavailable, "op: the server cannot do this right now; repeating it is safe", time.Millisecond}},
		{errors.New("disk"), Refusal{protocol.CodeInternal, "op: the server failed; it has logged why", 0}},
	} {
		if got := Of(tt.err, "op: "); got != tt.want {
			t.Errorf("Of(%v) = %+v, want %+v", tt.err, got, tt.want)
		}
	}
}
