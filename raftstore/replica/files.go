package replica

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/belfry-im/belfry/raftstore/sharedlog"
)

// ErrFilesLost means that files of a replica are not there that were made with it. It may
// have voted, and others may count on what it had stored.
var ErrFilesLost = errors.New("raftstore: files of the replica are lost")

// MakeFiles makes what a new replica stores its votes and its log in; its directory
// exists. It may be repeated. Dir, RaftLog, NodeLog, SegmentBytes, WALFS and Log of c are
// needed.
func MakeFiles(c *Config) error {
	log, err := openLog(c, &hclogger{log: c.Log}, sharedlog.User{})
	if err != nil {
		return err
	}
	stable, err := openStable(c, log)
	if err != nil {
		return errors.Join(err, log.Close())
	}
	if c.RaftLog == LogShared { // nothing else would be in its directory
		err = os.MkdirAll(snapshotsPath(c.Dir), DirMode)
	}
	return errors.Join(err, stable.Close(), log.Close(), SyncDir(c.Dir))
}

// CheckFiles returns ErrFilesLost unless what MakeFiles has made is there. It needs the
// same of c.
func CheckFiles(c *Config) error {
	files := []string{stableFile, "log.db"}
	switch c.RaftLog {
	case LogWAL:
		files[1] = filepath.Join("log", "wal-meta.db")
	case LogShared:
		if _, err := os.Stat(snapshotsPath(c.Dir)); errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%w: %s is not there", ErrFilesLost, snapshotsPath(c.Dir))
		} else if err != nil {
			return err
		}
		log, done := c.nodeLog()
		has, err := log.Has(c.group())
		if err == nil && !has {
			err = fmt.Errorf("%w: the node's log has nothing of %s", ErrFilesLost, c.group())
		}
		return errors.Join(err, done())
	}
	for _, name := range files {
		path := filepath.Join(c.Dir, name)
		switch short, err := isUnfinished(path); {
		case errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("%w: %s is not there", ErrFilesLost, path)
		case err != nil:
			return err
		case short:
			return fmt.Errorf("%w: %s is cut off", ErrFilesLost, path)
		}
	}
	return nil
}

// removeUnfinished removes a bbolt file that is shorter than a new one without content:
// the disk was full, or the process was killed, when it was made. bbolt refuses to open
// such a file.
func removeUnfinished(path string) error {
	short, err := isUnfinished(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil || !short {
		return err
	}
	return os.Remove(path)
}
