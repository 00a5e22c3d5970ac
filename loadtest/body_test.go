package loadtest

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
)

func TestBodyIsCanonical(t *testing.T) {
	for _, size := range []int{MinBody, MinBody + 1, 100, 128, 262, 263, 264, 265, 266, 1000, 4096, MaxBody} {
		size = bodySize(size)
		body := appendBody(nil, 7, 42, 3*time.Second, size)
		if len(body) != size {
			t.Errorf("a body of %d bytes has %d", size, len(body))
		}
		canonical, err := protocol.CanonicalMsgpack(nil, body, MaxBody)
		if err != nil || !bytes.Equal(canonical, body) {
			t.Errorf("a body of %d bytes is not canonical: %v", size, err)
		}
		counter, at, err := parseBody(body, 7, size, nil)
		if counter != 42 || at != 3*time.Second || err != nil {
			t.Errorf("parseBody of %d bytes = %d, %v, %v; want 42, 3s", size, counter, at, err)
		}
	}
}

// TestBodyAlterations changes each byte in turn: no change may pass.
func TestBodyAlterations(t *testing.T) {
	const size = 128
	body := appendBody(nil, 7, 42, 3*time.Second, size)
	for i := range body {
		altered := bytes.Clone(body)
		altered[i] ^= 1
		if counter, at, err := parseBody(altered, 7, size, nil); err == nil {
			t.Errorf("byte %d altered: parseBody = %d, %v without an error", i, counter, at)
		}
	}
	for name, altered := range map[string][]byte{
		"cut":          body[:size-1],
		"longer":       append(bytes.Clone(body), 'x'),
		"other stream": appendBody(nil, 8, 42, 3*time.Second, size),
		"empty":        nil,
	} {
		if _, _, err := parseBody(altered, 7, size, nil); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestBodyAllocates(t *testing.T) {
	buf, tmp := make([]byte, 0, 128), make([]byte, 0, 128)
	allocs := testing.AllocsPerRun(100, func() {
		buf = appendBody(buf[:0], 1, 2, 3, 128)
		if _, _, err := parseBody(buf, 1, 128, tmp); err != nil {
			t.Fatal(err)
		}
	})
	if allocs != 0 {
		t.Errorf("making and checking a body allocates %v times, want 0", allocs)
	}
}

func TestCIDs(t *testing.T) {
	if a, b := cidOf(1), cidOf(1<<47); a == b || len(b) > protocol.MaxCIDLen || strings.ContainsRune(b, ' ') {
		t.Errorf("cids %q and %q", a, b)
	}
}
