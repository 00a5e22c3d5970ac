//go:build !linux

package sharedlog

import "os"

// allocate makes f as large as size.
func allocate(f *os.File, size int64) error { return f.Truncate(size) }

// syncData makes the content of f durable, and its size.
func syncData(f *os.File) error { return f.Sync() }
