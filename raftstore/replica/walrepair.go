package replica

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/metadb"
	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"
)

// repairTail repairs a log that raft-wal (0.4.2) would open and then refuse
// every append to, "segment is sealed": it takes any index frame in its last
// file for the end of that file, but does not begin the next one.
//
// A process that was killed, or met a full disk, can leave such a log. If it had
// appended what fills the file, or sealed the file to cut its tail, but not recorded
// that in the meta store, repairTail records it. If that append was cut short behind
// the index frame, repairTail wipes its remains, which were never acknowledged.
func repairTail(dir string, meta *metadb.BoltMetaDB, filer *segment.Filer, segmentBytes int) error {
	state, err := meta.Load(dir)
	if err != nil || len(state.Segments) == 0 {
		return err
	}
	tail := &state.Segments[len(state.Segments)-1]
	if !tail.SealTime.IsZero() {
		return nil
	}
	w, err := filer.RecoverTail(*tail)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // wal.Open makes it
	}
	if err != nil {
		return err
	}
	sealed, indexStart, err := w.Sealed()
	last := w.LastIndex()
	if err := errors.Join(err, w.Close()); err != nil || !sealed {
		return err
	}
	path := filepath.Join(dir, segment.FileName(*tail))
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	committed := scanSegment(data)
	want := uint64(0)
	if committed.entries > 0 {
		want = tail.BaseIndex + committed.entries - 1
	}
	switch {
	case last != want:
		return fmt.Errorf("%s: ends with entry %d, by its checksums with %d", path, last, want)
	case committed.index == 0:
		return wipe(path, committed.end, int64(len(data)))
	case committed.index != indexStart:
		return fmt.Errorf("%s: has its index at %d, by its checksums at %d", path, indexStart, committed.index)
	}
	now := time.Now()
	tail.SealTime, tail.MaxIndex, tail.IndexStart = now, last, indexStart
	state.Segments = append(state.Segments, types.SegmentInfo{
		ID: state.NextSegmentID, BaseIndex: last + 1, MinIndex: last + 1,
		SizeLimit: uint32(segmentBytes), Codec: wal.CodecBinaryV1, CreateTime: now,
	})
	state.NextSegmentID++
	return meta.CommitState(state)
}

// Lengths in bytes of parts of a raft-wal segment.
const (
	walFileHeader  = 32
	walFrameHeader = 8
)

// A segmentScan is what a segment holds up to its last whole commit.
type segmentScan struct {
	end     int64  // behind that commit's frame; 0 = there is none
	entries uint64 // committed
	index   uint64 // where the committed index begins; 0 = there is none
}

// scanSegment reads the frames of a segment: type (1 byte), reserved (3), length
// or, of a commit, checksum since the last (4, little endian), then the payload,
// padded to 8 bytes.
func scanSegment(data []byte) (s segmentScan) {
	var entries, index uint64 // since the last commit
	for at := int64(walFileHeader); at+walFrameHeader <= int64(len(data)); {
		value := binary.LittleEndian.Uint32(data[at+4:])
		size := (walFrameHeader + int64(value) + 7) &^ 7
		switch data[at] {
		case segment.FrameEntry:
			entries++
		case segment.FrameIndex:
			index = uint64(at) + walFrameHeader
		case segment.FrameCommit:
			if crc32.Checksum(data[s.end:at], crc32.MakeTable(crc32.Castagnoli)) != value {
				return s
			}
			size = walFrameHeader
			s = segmentScan{end: at + size, entries: s.entries + entries, index: index}
			entries, index = 0, 0
		default:
			return s
		}
		at += size
	}
	return s
}

// wipe overwrites a part of a file with zeros.
func wipe(path string, from, to int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(make([]byte, max(0, to-from)), from)
	return errors.Join(err, f.Sync(), f.Close())
}
