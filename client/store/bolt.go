package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// lockTime is how long OpenFile waits for a client that is about to close.
const lockTime = time.Second

var bucketName = []byte("belfry")

// boltDB is a DB in a file. Its marks lie in a small file beside it, 8 bytes each, whose
// writes wait for no disk.
type boltDB struct {
	path  string
	db    *bbolt.DB
	marks *os.File
}

// marksSuffix ends the name of the file with the marks.
const marksSuffix = ".marks"

// OpenFile opens the store in a file, and makes that, readable by its owner alone, and
// its folder if there is none. Its errors are *Error.
func OpenFile(path string) (_ DB, err error) {
	defer func() {
		if err != nil {
			err = &Error{Path: path, Err: err}
		}
	}()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	d := &boltDB{path: path}
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	if err := guard(func() (err error) {
		d.db, err = bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockTime, FreelistType: bbolt.FreelistMapType})
		return err
	}); err != nil {
		switch {
		case errors.Is(err, bolterrors.ErrTimeout):
			return nil, ErrLocked
		case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrChecksum), errors.Is(err, bolterrors.ErrVersionMismatch):
			return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		return nil, err
	}
	if err := d.checkSize(); err != nil {
		return nil, err
	}
	if err := guard(func() error {
		return d.db.Update(func(tx *bbolt.Tx) error {
			_, err := tx.CreateBucketIfNotExists(bucketName)
			return err
		})
	}); err != nil {
		return nil, err
	}
	d.marks, err = os.OpenFile(path+marksSuffix, os.O_RDWR|os.O_CREATE, 0o600)
	return d, err
}

// checkSize refuses a file that was cut off: reading beyond its end would crash the
// process.
func (d *boltDB) checkSize() error {
	info, err := os.Stat(d.path)
	if err != nil {
		return err
	}
	return guard(func() error {
		return d.db.View(func(tx *bbolt.Tx) error {
			if tx.Size() > info.Size() {
				return fmt.Errorf("%w: the file has %d bytes, wants %d", ErrCorrupt, info.Size(), tx.Size())
			}
			return nil
		})
	})
}

// guard turns a panic of bbolt, which is how it reports a page that is none, into an
// error.
func guard(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", ErrCorrupt, p)
		}
	}()
	return f()
}

func (d *boltDB) View(f func(KV) error) error {
	return d.wrap(guard(func() error {
		return d.db.View(func(tx *bbolt.Tx) error {
			return f(&boltKV{bucket: tx.Bucket(bucketName)})
		})
	}))
}

func (d *boltDB) Update(f func(KV) error) error {
	return d.wrap(guard(func() error {
		return d.db.Update(func(tx *bbolt.Tx) error {
			kv := &boltKV{bucket: tx.Bucket(bucketName)}
			if err := f(kv); err != nil {
				return err
			}
			return kv.err
		})
	}))
}

func (d *boltDB) wrap(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, bolterrors.ErrDatabaseNotOpen):
		err = ErrClosed
	}
	return &Error{Path: d.path, Err: err}
}

func (d *boltDB) SetMark(m Mark, to uint64) error {
	_, err := d.marks.WriteAt(binary.BigEndian.AppendUint64(nil, to), int64(m)*8)
	return d.wrap(err)
}

func (d *boltDB) Marks() (marks [Marks]uint64) {
	var b [8 * Marks]byte
	n, _ := d.marks.ReadAt(b[:], 0)
	for i := range n / 8 {
		marks[i] = binary.BigEndian.Uint64(b[i*8:])
	}
	return marks
}

func (d *boltDB) Close() error { return d.wrap(d.close()) }

func (d *boltDB) close() (err error) {
	if d.db != nil {
		err = d.db.Close()
	}
	if d.marks != nil {
		err = errors.Join(err, d.marks.Close())
	}
	return err
}

type boltKV struct {
	bucket *bbolt.Bucket
	err    error // the first of a change
}

func (kv *boltKV) Get(key []byte) []byte { return kv.bucket.Get(key) }

func (kv *boltKV) Put(key, value []byte) {
	if err := kv.bucket.Put(key, value); err != nil && kv.err == nil {
		kv.err = err
	}
}

func (kv *boltKV) Delete(key []byte) {
	if err := kv.bucket.Delete(key); err != nil && kv.err == nil {
		kv.err = err
	}
}

func (kv *boltKV) Scan(from, to []byte, descending bool) iter.Seq2[[]byte, []byte] {
	return func(yield func(k, v []byte) bool) {
		c := kv.bucket.Cursor()
		if !descending {
			for k, v := c.Seek(from); k != nil && bytes.Compare(k, to) < 0; k, v = c.Next() {
				if !yield(k, v) {
					return
				}
			}
			return
		}
		step := c.Prev
		if k, _ := c.Seek(to); k == nil {
			step = c.Last
		}
		for k, v := step(); k != nil && bytes.Compare(k, from) >= 0; k, v = c.Prev() {
			if !yield(k, v) {
				return
			}
		}
	}
}
