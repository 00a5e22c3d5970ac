package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// lockTime is how long OpenFile waits for a client that is about to close.
const lockTime = time.Second

// initialMap is how much of a file is mapped at first: a larger one is mapped anew, which
// waits for all readers. It is address space, no memory; but on Windows the file is made
// that long.
const initialMap = 8 << 20

// fillPercent is how full pages are made that are split. Messages come at the end of their
// conversation, so there is little to leave room for: at bbolt's half, a file is half as
// large again, and a login writes half as many pages again.
const fillPercent = 0.8

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
	if err := checkSize(path); err != nil {
		return nil, err
	}
	if err := guard(func() (err error) {
		d.db, err = bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockTime, FreelistType: bbolt.FreelistMapType, InitialMmapSize: initialMap})
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
	d.marks, err = os.OpenFile(path+marksSuffix, os.O_RDWR|os.O_CREATE, 0o600)
	return d, err
}

// checkSize refuses a file that was cut off: reading beyond its end is a fault, and bbolt
// would keep the file locked. It reads the two meta pages of a bbolt file: 16 bytes in,
// each has a magic number, version, page size and flags of 4 bytes, the root's page and
// sequence, the freelist's page, the number of pages and that of the transaction.
func checkSize(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	const magic = 0xED0CDAED
	var size, newest uint64
	page := int64(0) // offset of the second page
	for i := range 2 {
		var b [16 + 72]byte
		if _, err := f.ReadAt(b[:], int64(i)*page); err != nil || binary.NativeEndian.Uint32(b[16:]) != magic {
			break // bbolt will say what is wrong
		}
		page = int64(binary.NativeEndian.Uint32(b[24:]))
		if tx := binary.NativeEndian.Uint64(b[64:]); tx >= newest {
			newest, size = tx, binary.NativeEndian.Uint64(b[56:])*uint64(page)
		}
	}
	info, err := f.Stat() // after the pages: a file only grows
	if err != nil {
		return err
	}
	if uint64(info.Size()) < size {
		return fmt.Errorf("%w: the file has %d bytes, wants %d", ErrCorrupt, info.Size(), size)
	}
	return nil
}

// guard turns a panic of bbolt, which is how it reports a page that is none, into an
// error, and a fault too, as there is one if the file is shorter than it says.
func guard(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
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
			bucket := tx.Bucket(bucketName)
			if bucket == nil { // of a new file
				return f(emptyKV{})
			}
			return f(&boltKV{bucket: bucket})
		})
	}))
}

func (d *boltDB) Update(f func(KV) error) error {
	return d.wrap(guard(func() error {
		return d.db.Update(func(tx *bbolt.Tx) error {
			bucket, err := tx.CreateBucketIfNotExists(bucketName)
			if err != nil {
				return err
			}
			bucket.FillPercent = fillPercent
			kv := &boltKV{bucket: bucket}
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

// An emptyKV is the map in a file to which nothing was written yet.
type emptyKV struct{}

func (emptyKV) Get([]byte) []byte { return nil }
func (emptyKV) Put(_, _ []byte)   {}
func (emptyKV) Delete([]byte)     {}
func (emptyKV) Scan(_, _ []byte, _ bool) iter.Seq2[[]byte, []byte] {
	return func(func(_, _ []byte) bool) {}
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
