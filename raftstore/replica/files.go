package replica

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// ErrFilesLost means that files of a replica are not there that were made with it. It may
// have voted, and others may count on what it had stored.
var ErrFilesLost = errors.New("raftstore: files of the replica are lost")

// MakeFiles makes the files in which a new replica stores its votes and its log, in a
// directory that exists. It may be repeated. Dir, RaftLog, SegmentBytes, WALFS and Log of
// c are needed.
func MakeFiles(c *Config) error {
	stable, err := openBolt(filepath.Join(c.Dir, stableFile))
	if err != nil {
		return fmt.Errorf("open stable store: %w", err)
	}
	if err := stable.Close(); err != nil {
		return err
	}
	log, err := openLog(c, &hclogger{log: c.Log})
	if err != nil {
		return err
	}
	return errors.Join(log.Close(), SyncDir(c.Dir))
}

// CheckFiles returns ErrFilesLost unless the files that MakeFiles has made are there.
func CheckFiles(dir, raftLog string) error {
	files := []string{stableFile, "log.db"}
	if raftLog == LogWAL {
		files[1] = filepath.Join("log", "wal-meta.db")
	}
	for _, name := range files {
		path := filepath.Join(dir, name)
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
