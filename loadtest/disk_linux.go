package loadtest

import (
	"os"
	"syscall"
)

func preallocate(f *os.File, size int64) error {
	return syscall.Fallocate(int(f.Fd()), 0, 0, size)
}

// InMemory reports whether dir is on a file system that is kept in memory, where
// fsync has nothing to do.
func InMemory(dir string) (bool, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return false, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	const tmpfs, ramfs = 0x01021994, 0x858458f6
	kind := uint32(s.Type)
	return kind == tmpfs || kind == ramfs, nil
}
