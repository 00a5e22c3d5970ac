//go:build !linux

package loadtest

import "os"

func preallocate(f *os.File, size int64) error { return f.Truncate(size) }

// InMemory reports whether dir is on a file system that is kept in memory, where
// fsync has nothing to do. Here it cannot tell and returns false.
func InMemory(string) (bool, error) { return false, nil }
