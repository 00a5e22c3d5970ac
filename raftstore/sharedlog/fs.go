package sharedlog

import (
	"errors"
	"io"
	"os"
	"path/filepath"
)

// An FS is the file system below a log. What it is told to sync has to be on the disk when
// it returns.
type FS interface {
	// List returns the names of the files in a folder.
	List(dir string) ([]string, error)
	// Create makes a file of that size, in bytes, whose content is zeros. It fails if there
	// is one already, or if the disk has no room for that size.
	Create(dir, name string, size int64) (File, error)
	// Open opens a file that exists for reading and writing.
	Open(dir, name string) (File, error)
	// Rename gives a file of a folder another name, which no file has.
	Rename(dir, from, to string) error
	// Remove removes a file.
	Remove(dir, name string) error
	// SyncDir makes names in dir durable.
	SyncDir(dir string) error
}

// A File is one of an FS.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Sync makes the content durable, and the size.
	Sync() error
}

// Modes of what is made: logs hold messages.
const (
	dirMode  = 0o700
	fileMode = 0o600
)

// OS is the operating system's FS.
type OS struct{}

func (OS) List(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if !e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

func (OS) Create(dir, name string, size int64) (File, error) {
	path := filepath.Join(dir, name)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, fileMode)
	if err != nil {
		return nil, err
	}
	if err := allocate(f, size); err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(path))
	}
	return osFile{f}, nil
}

func (OS) Open(dir, name string) (File, error) {
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (OS) Rename(dir, from, to string) error {
	return os.Rename(filepath.Join(dir, from), filepath.Join(dir, to))
}

func (OS) Remove(dir, name string) error { return os.Remove(filepath.Join(dir, name)) }

func (OS) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

type osFile struct{ *os.File }

func (f osFile) Sync() error { return syncData(f.File) }

// readAll reads a file from its beginning to its end.
func readAll(f File) ([]byte, error) {
	var data []byte
	for {
		n := len(data)
		data = append(data, make([]byte, max(n, 64<<10))...)
		read, err := f.ReadAt(data[n:], int64(n))
		data = data[:n+read]
		if err == io.EOF {
			return data, nil
		}
		if err != nil {
			return nil, err
		}
	}
}
