package harness

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// CheckMemory requires that the process never took more than its limit and a
// tenth.
func (s *Server) CheckMemory(t *testing.T, limit int64) {
	t.Helper()
	if most := s.Status(t, "VmHWM"); most > limit+limit/10 {
		t.Errorf("the server took up to %d MiB, with a limit of %d", most>>20, limit>>20)
	}
}

// Status returns a size that /proc/PID/status gives for the server, in bytes.
func (s *Server) Status(t *testing.T, name string) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.Cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var kib int64
		if _, err := fmt.Sscanf(line, name+": %d kB", &kib); err == nil {
			return kib << 10
		}
	}
	t.Fatalf("no %s in /proc/…/status", name)
	return 0
}
