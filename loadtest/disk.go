package loadtest

import (
	"fmt"
	"os"
	"time"
)

const (
	// fsyncRecord is how many bytes the server's log writes for an entry with one
	// message of 128 bytes; fsyncFile is the size of the file that it writes to.
	fsyncRecord = 300
	fsyncFile   = 8 << 20
	// MaxFsyncs is how many such records fit into a file.
	MaxFsyncs = fsyncFile / fsyncRecord
)

// Fsync measures how long appends to a file in dir take: writes of 300 bytes to a
// preallocated file of 8 MiB, each with an fsync, as the server's log does them.
// The file is removed.
func Fsync(dir string, appends int) (latency Latency, err error) {
	if appends < 1 || appends > MaxFsyncs {
		return Latency{}, fmt.Errorf("loadtest: Fsync of %d appends: want 1 to %d", appends, MaxFsyncs)
	}
	f, err := os.CreateTemp(dir, "fsync-*")
	if err != nil {
		return Latency{}, fmt.Errorf("loadtest: fsync: %w", err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if err := preallocate(f, fsyncFile); err != nil {
		return Latency{}, fmt.Errorf("loadtest: fsync: preallocate %s: %w", f.Name(), err)
	}
	if err := f.Sync(); err != nil {
		return Latency{}, fmt.Errorf("loadtest: fsync: %w", err)
	}
	record := make([]byte, fsyncRecord)
	for i := range record {
		record[i] = byte(i) | 1 // never 0, which the file is full of
	}
	took := newRecorder()
	for range appends {
		began := time.Now()
		if _, err := f.Write(record); err != nil {
			return Latency{}, fmt.Errorf("loadtest: fsync: %w", err)
		}
		if err := f.Sync(); err != nil {
			return Latency{}, fmt.Errorf("loadtest: fsync: %w", err)
		}
		took.record(time.Since(began))
	}
	return took.latency(), nil
}
