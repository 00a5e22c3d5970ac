//go:build unix

package loadtest

import (
	"fmt"
	"syscall"
)

// allowFiles raises the limit of open files, if need be, so that this process may
// have n open beside a few of its own.
func allowFiles(n int) error {
	need := uint64(n) + ownFiles
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("loadtest: limit of open files: %w", err)
	}
	if limit.Cur >= need {
		return nil
	}
	want := limit
	want.Cur, want.Max = need, max(limit.Max, need) // to raise Max needs a privilege
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &want); err != nil {
		return fmt.Errorf("loadtest: %d connections need %d open files, the limit is %d of at most %d (ulimit -n): %w", n, need, limit.Cur, limit.Max, err)
	}
	return nil
}
