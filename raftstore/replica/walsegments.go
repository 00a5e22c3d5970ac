package replica

import (
	"sync"

	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"
)

// A segmentFiler makes the files of a log of raft-wal, which keeps all that it has
// appended to open as it was for writing, until they are deleted: each with a buffer as
// large as its largest append, of megabytes where entries are large, and an index of
// 128 KiB or more. A follower that caught up would hold as much as its state once more.
// Here a file that is full is read like one that was there at the start, from the disk,
// as soon as the next one begins.
//
// raft-wal calls Create and RecoverTail one at a time.
type segmentFiler struct {
	*segment.Filer
	newest *logSegment
}

func (f *segmentFiler) Create(info types.SegmentInfo) (types.SegmentWriter, error) {
	w, err := f.Filer.Create(info)
	return f.begin(info, w, err)
}

func (f *segmentFiler) RecoverTail(info types.SegmentInfo) (types.SegmentWriter, error) {
	w, err := f.Filer.RecoverTail(info)
	return f.begin(info, w, err)
}

func (f *segmentFiler) begin(info types.SegmentInfo, w types.SegmentWriter, err error) (types.SegmentWriter, error) {
	if err != nil {
		return nil, err
	}
	if f.newest != nil {
		f.newest.settle(f.Filer)
	}
	f.newest = &logSegment{info: info, writer: w}
	return f.newest, nil
}

// A logSegment is a file of a log that was made, or ended the log, when this process
// opened it. Append, Sealed, ForceSeal and settle are called one at a time, the others
// beside them.
type logSegment struct {
	mu     sync.RWMutex        // held for reading by reads
	writer types.SegmentWriter // nil once the segment is settled
	reader types.SegmentReader // nil until then
	info   types.SegmentInfo   // as when it was made; once the segment is settled, of a sealed one
}

// settle gives up what is only needed for writing, if the segment is sealed. Should the
// file not open once more, the segment stays as it is.
func (s *logSegment) settle(filer *segment.Filer) {
	sealed, indexStart, err := s.writer.Sealed()
	last := s.writer.LastIndex()
	if err != nil || !sealed || last == 0 {
		return
	}
	info := s.info
	info.IndexStart, info.MaxIndex = indexStart, last
	r, err := filer.Open(info)
	if err != nil {
		return
	}
	s.mu.Lock()
	w := s.writer
	s.writer, s.reader, s.info = nil, r, info
	s.mu.Unlock()
	w.Close() // all of it was synced
}

func (s *logSegment) Append(entries []types.LogEntry) error {
	if s.writer == nil {
		return types.ErrSealed
	}
	return s.writer.Append(entries)
}

func (s *logSegment) Sealed() (bool, uint64, error) {
	if s.writer == nil {
		return true, s.info.IndexStart, nil
	}
	return s.writer.Sealed()
}

func (s *logSegment) ForceSeal() (uint64, error) {
	if s.writer == nil {
		return s.info.IndexStart, nil
	}
	return s.writer.ForceSeal()
}

func (s *logSegment) LastIndex() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.writer == nil {
		return s.info.MaxIndex
	}
	return s.writer.LastIndex()
}

func (s *logSegment) GetLog(index uint64) (*types.PooledBuffer, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.writer == nil {
		return s.reader.GetLog(index)
	}
	return s.writer.GetLog(index)
}

func (s *logSegment) Close() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.writer == nil {
		return s.reader.Close()
	}
	return s.writer.Close()
}
