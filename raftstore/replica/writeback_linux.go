package replica

import (
	"os"

	"golang.org/x/sys/unix"
)

// writeBack writes n bytes of a file from the page cache to the disk, and
// waits for that. Unlike fsync it does not commit the file system's journal,
// for which writers of other files would wait.
func writeBack(f *os.File, offset, n int64) error {
	return unix.SyncFileRange(int(f.Fd()), offset, n,
		unix.SYNC_FILE_RANGE_WAIT_BEFORE|unix.SYNC_FILE_RANGE_WRITE|unix.SYNC_FILE_RANGE_WAIT_AFTER)
}
