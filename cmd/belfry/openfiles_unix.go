//go:build unix

package main

import "golang.org/x/sys/unix"

// openFiles returns how many files the process may have open, 0 if that is
// unknown. The runtime has raised that limit as far as it may.
func openFiles() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || limit.Cur > 1<<30 {
		return 0
	}
	return int(limit.Cur)
}
