package sharedlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"path/filepath"
	"strconv"
	"strings"
)

const (
	segmentHeader = 32
	segmentMagic  = "BLFYSEG1"
	metaMagic     = "BLFYLOG1"
	metaBytes     = 20
	metaName      = "meta"
	// maxSpare is how many segments in which nothing lives are kept to be used again;
	// more are removed.
	maxSpare = 2
)

// A segment is one file of a log.
type segment struct {
	dir    string
	number uint32
	seed   seed
	file   File
	size   int64 // of the file, at least
	begin  int64 // of what comes behind the checkpoint
	sealed bool  // when it was opened

	// Guarded by Log.mu; changed by the writer alone.
	end   int64 // behind the last frame that is on the disk
	live  int   // entries here that are in their groups
	count int   // entries that were ever written here
}

func segmentName(number uint32) string { return fmt.Sprintf("%016d.seg", number) }

// segmentNumber returns the number of a file's name, 0 if it is not that of a segment.
func segmentNumber(name string) uint32 {
	digits, ok := strings.CutSuffix(name, ".seg")
	if !ok || len(digits) != 16 {
		return 0
	}
	n, err := strconv.ParseUint(digits, 10, 32)
	if err != nil {
		return 0
	}
	return uint32(n)
}

func (s *segment) path() string { return filepath.Join(s.dir, segmentName(s.number)) }

// header returns the bytes with which a segment begins.
func (s *segment) header() []byte {
	b := make([]byte, segmentHeader)
	copy(b, segmentMagic)
	binary.LittleEndian.PutUint64(b[8:], uint64(s.number))
	binary.LittleEndian.PutUint32(b[28:], s.seed.sum(b[:28]))
	return b
}

// isHeader reports whether data begins with the header of s.
func (s *segment) isHeader(data []byte) bool {
	return len(data) >= segmentHeader && string(data[:segmentHeader]) == string(s.header())
}

// read reads the frame at an offset.
func (s *segment) read(offset int64) (frame, error) {
	b := make([]byte, readAhead)
	n, err := s.file.ReadAt(b, offset)
	if err != nil && err != io.EOF {
		return frame{}, err
	}
	b = b[:n]
	if _, err := decodeHeader(s.seed, b); err != nil {
		return frame{}, err
	}
	if size := frameSize(int(binary.LittleEndian.Uint32(b[8:]))); size > len(b) {
		whole := make([]byte, size)
		copy(whole, b)
		switch m, err := s.file.ReadAt(whole[n:], offset+int64(n)); {
		case n+m == size:
		case err == io.EOF:
			return frame{}, errEnd
		default:
			return frame{}, err
		}
		b = whole
	}
	return decodeFrame(s.seed, b)
}

// segment returns the segment with that number. l.mu is held.
func (l *Log) segment(number uint32) *segment {
	return l.segments[number-l.segments[0].number]
}

// current returns the segment that is written to. It is for the writer, or with l.mu held.
func (l *Log) current() *segment { return l.segments[len(l.segments)-1] }

// lives notes that an entry begins, or ends, to be at a position. l.mu is held.
func (l *Log) lives(at position, change int) {
	if at == 0 || at.segment() < l.segments[0].number {
		return // while the log is being opened: it was in a segment that is gone
	}
	s := l.segment(at.segment())
	s.live += change
	if change > 0 {
		s.count++
	}
}

// begin makes the segment with that number the one that is written to. It takes the file of
// the oldest one if nothing lives there.
func (l *Log) begin(number uint32) error {
	s := &segment{dir: l.cfg.Dir, number: number, seed: newSeed(l.salt, number), size: int64(l.cfg.SegmentBytes)}
	l.mu.Lock()
	old := l.spare()
	if old != nil && old.size == s.size {
		l.segments = l.segments[1:]
	} else {
		old = nil
	}
	checkpoint := appendCheckpoint(nil, l.next, l.states())
	l.mu.Unlock()
	var err error
	if old != nil {
		s.file = old.file
		err = l.cfg.FS.Rename(s.dir, segmentName(old.number), segmentName(number))
		if err == nil {
			err = l.cfg.FS.SyncDir(s.dir) // or it could be found with its old name, and nothing of what was there
		}
	} else {
		s.file, err = l.cfg.FS.Create(s.dir, segmentName(number), s.size)
	}
	if err != nil {
		if old != nil {
			err = errors.Join(err, s.file.Close())
		}
		return fmt.Errorf("begin %s: %w", s.path(), err)
	}
	stamp(checkpoint, s.seed, segmentHeader)
	b := append(s.header(), checkpoint...)
	_, err = s.file.WriteAt(b, 0)
	if err == nil {
		err = s.file.Sync()
	}
	if err == nil {
		// A frame must not be acknowledged in a file without a name.
		err = l.cfg.FS.SyncDir(s.dir)
	}
	if err != nil {
		return fmt.Errorf("begin %s: %w", s.path(), errors.Join(err, s.file.Close()))
	}
	s.begin, s.end = int64(len(b)), int64(len(b))
	s.size = max(s.size, s.end)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.segments = append(l.segments, s)
	return nil
}

// spare returns the oldest segment if nothing lives there, else nil. l.mu is held.
func (l *Log) spare() *segment {
	if len(l.segments) > 1 && l.segments[0].live == 0 {
		return l.segments[0]
	}
	return nil
}

// trim removes the oldest segment if more than enough are to be used again.
func (l *Log) trim() error {
	l.mu.Lock()
	spare := 0
	for _, s := range l.segments[:len(l.segments)-1] {
		if s.live > 0 {
			break
		}
		spare++
	}
	old := l.segments[0]
	if spare <= maxSpare && (spare == 0 || old.size == int64(l.cfg.SegmentBytes)) {
		l.mu.Unlock()
		return nil
	}
	l.segments = l.segments[1:]
	l.mu.Unlock()
	// Without the sync of the folder a later one could be gone, and this one still be there.
	if err := errors.Join(old.file.Close(), l.cfg.FS.Remove(old.dir, segmentName(old.number)), l.cfg.FS.SyncDir(old.dir)); err != nil {
		return fmt.Errorf("remove %s: %w", old.path(), err)
	}
	return nil
}

// checksum of the meta file's first bytes.
func metaSum(b []byte) uint32 { return crc32.Checksum(b[:16], castagnoli) }
