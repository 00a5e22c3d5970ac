package replica

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/hashicorp/raft-wal/metadb"
)

// SyncDir makes the names in dir durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// noRoom reports whether err came about because the disk below dir is full.
// Some libraries hide that, so noRoom also tries to write to the disk.
func noRoom(dir string, err error) bool {
	return err != nil && (errors.Is(err, syscall.ENOSPC) || errors.Is(probeDisk(dir), syscall.ENOSPC))
}

// probeDisk writes a file to dir, and fails if dir takes no writes.
func probeDisk(dir string) error {
	path := filepath.Join(dir, "probe")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, FileMode)
	if err != nil {
		return err
	}
	defer os.Remove(path)
	_, err = f.Write(make([]byte, 1<<20))
	return errors.Join(err, f.Sync(), f.Close())
}

// rewriteLog writes once more the files to which the last entries were
// appended. After a failed fsync the page cache may hold, and show to the next
// reader, bytes that never reached the disk and are no longer marked to be
// written; what is read from there must not count as stored before it has been
// written again. Files that do not exist are left out: the log may have failed
// when it was made.
func rewriteLog(kind, dir string) error {
	var paths []string
	switch kind {
	case LogBolt:
		paths = []string{filepath.Join(dir, "log.db")}
	case LogWAL:
		entries, err := os.ReadDir(filepath.Join(dir, "log"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		var segments []string
		for _, e := range entries {
			if strings.HasSuffix(e.Name(), ".wal") {
				segments = append(segments, filepath.Join(dir, "log", e.Name()))
			}
		}
		// Names begin with the padded index of the first entry. The last two
		// may hold the failed write, if it fell on the change of segments.
		slices.Sort(segments)
		paths = append(segments[max(0, len(segments)-2):], filepath.Join(dir, "log", metadb.FileName))
	}
	for _, path := range paths {
		if err := rewriteFile(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("write %s again: %w", path, err)
		}
	}
	return nil
}

func rewriteFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	buf := make([]byte, 1<<20)
	for offset := int64(0); ; {
		n, err := f.ReadAt(buf, offset)
		if n > 0 {
			if _, err := f.WriteAt(buf[:n], offset); err != nil {
				return err
			}
			offset += int64(n)
		}
		if err == io.EOF {
			return f.Sync()
		}
		if err != nil {
			return err
		}
	}
}
