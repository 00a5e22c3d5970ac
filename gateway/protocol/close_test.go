package protocol

import (
	"testing"
	"time"
)

func TestCloseReason(t *testing.T) {
	const most = 123 // bytes of a close frame's reason
	for _, after := range []time.Duration{0, 1234 * time.Millisecond, 24 * time.Hour} {
		reason := CloseReason("server going away", after)
		if got := RetryAfter(reason); got != after || len(reason) > most {
			t.Errorf("RetryAfter(%q) = %v, want %v", reason, got, after)
		}
	}
	if got, want := CloseReason("server going away", 1234*time.Millisecond), "server going away; retry after 1234 ms"; got != want {
		t.Errorf("CloseReason = %q, want %q", got, want)
	}
	for _, reason := range []string{"", "server going away", "x; retry after  ms", "x; retry after -1 ms", "x; retry after 5", "x; retry after 99999999999 ms", "5 ms"} {
		if got := RetryAfter(reason); got != 0 {
			t.Errorf("RetryAfter(%q) = %v, want 0", reason, got)
		}
	}
}
