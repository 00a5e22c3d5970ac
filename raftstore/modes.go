package raftstore

import (
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/belfry-im/belfry/raftstore/replica"
)

const (
	dirMode  = replica.DirMode
	fileMode = replica.FileMode
	// othersMode are the permissions of the group and of others.
	othersMode = 0o077
)

// tighten takes the permissions of other users off a data directory and
// everything in it, since its files hold messages. It cannot change files of
// other owners, such as the mount points of some container platforms, and logs
// that.
func tighten(dir string, log *slog.Logger) {
	var first error
	failed := 0
	note := func(err error) {
		if first == nil {
			first = err
		}
		failed++
	}
	root, err := filepath.EvalSymlinks(dir)
	if err != nil {
		note(err)
	}
	_ = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			note(err)
			return nil
		}
		info, err := entry.Info()
		switch {
		case os.IsNotExist(err):
		case err != nil:
			note(err)
		case info.Mode()&os.ModeSymlink == 0 && info.Mode()&othersMode != 0:
			if err := os.Chmod(path, info.Mode()&^othersMode); err != nil {
				note(err)
			}
		}
		return nil
	})
	if failed > 0 {
		log.Warn("other local users may be able to read messages in the data folder", "data", dir, "failed", failed, "error", first)
	}
}
