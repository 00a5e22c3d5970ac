package replica

import (
	"os"

	"golang.org/x/sys/unix"
)

// writeBack has n bytes of a file reach the disk, and waits for it. It leaves
// out what a commit of the file system's journal would add, which others would
// wait for.
func writeBack(f *os.File, offset, n int64) error {
	return unix.SyncFileRange(int(f.Fd()), offset, n,
		unix.SYNC_FILE_RANGE_WAIT_BEFORE|unix.SYNC_FILE_RANGE_WRITE|unix.SYNC_FILE_RANGE_WAIT_AFTER)
}
