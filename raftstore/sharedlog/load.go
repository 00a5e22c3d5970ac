package sharedlog

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// load opens the files, reads them, and leaves a segment to write to.
func (l *Log) load() error {
	if err := os.MkdirAll(l.cfg.Dir, dirMode); err != nil {
		return err
	}
	names, err := l.cfg.FS.List(l.cfg.Dir)
	if err != nil {
		return err
	}
	var numbers []uint32
	for _, name := range names {
		if n := segmentNumber(name); n > 0 {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	if err := l.loadMeta(slices.Contains(names, metaName), len(numbers) > 0); err != nil {
		return err
	}
	for i, number := range numbers {
		if i > 0 && number != numbers[i-1]+1 {
			return &CorruptError{Segment: filepath.Join(l.cfg.Dir, segmentName(numbers[i-1]+1)), Groups: l.names(nil), Reason: "the file is lost"}
		}
		if err := l.loadSegment(number, i == len(numbers)-1); err != nil {
			return err
		}
	}
	for _, g := range l.numbered {
		g.staged, g.keys = g.bounds, len(g.values)
		for i, at := range g.at {
			if at == 0 {
				return &CorruptError{Segment: l.segments[0].path(), Groups: []string{g.name}, Reason: fmt.Sprintf("entry %d is in a segment before, which is lost", g.bounds.first+uint64(i))}
			}
		}
	}
	switch {
	case len(numbers) == 0:
		return l.begin(1)
	case len(l.segments) == 0 || l.current().number < numbers[len(numbers)-1]:
		return l.begin(numbers[len(numbers)-1]) // whose file had been begun, and not more
	case l.current().sealed:
		return l.begin(l.current().number + 1)
	}
	return nil
}

// loadMeta reads the salt, or makes it.
func (l *Log) loadMeta(there, segments bool) error {
	fs, dir := l.cfg.FS, l.cfg.Dir
	if there {
		f, err := fs.Open(dir, metaName)
		if err != nil {
			return err
		}
		b, err := readAll(f)
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
		if len(b) != metaBytes || string(b[:8]) != metaMagic || binary.LittleEndian.Uint32(b[16:]) != metaSum(b) {
			return &CorruptError{Segment: filepath.Join(dir, metaName), Reason: "it is not what it was made as"}
		}
		copy(l.salt[:], b[8:])
		return nil
	}
	if segments {
		return &CorruptError{Segment: filepath.Join(dir, metaName), Reason: "the file is lost"}
	}
	if _, err := rand.Read(l.salt[:]); err != nil {
		return err
	}
	b := append([]byte(metaMagic), l.salt[:]...)
	b = binary.LittleEndian.AppendUint32(b, metaSum(b))
	const tmp = metaName + ".tmp"
	if err := fs.Remove(dir, tmp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	f, err := fs.Create(dir, tmp, metaBytes)
	if err != nil {
		return fmt.Errorf("make %s: %w", filepath.Join(dir, metaName), err)
	}
	_, err = f.WriteAt(b, 0)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = errors.Join(fs.Rename(dir, tmp, metaName), fs.SyncDir(dir), fs.SyncDir(filepath.Dir(dir)))
	}
	if err != nil {
		return fmt.Errorf("make %s: %w", filepath.Join(dir, metaName), err)
	}
	return nil
}

// loadSegment reads a segment and applies what is in it. Of the newest one it cuts off what
// was never acknowledged; if that is all of it, the file is removed.
func (l *Log) loadSegment(number uint32, newest bool) error {
	s := &segment{dir: l.cfg.Dir, number: number, seed: newSeed(l.salt, number)}
	var err error
	if s.file, err = l.cfg.FS.Open(s.dir, segmentName(number)); err != nil {
		return err
	}
	data, err := readAll(s.file)
	if err != nil {
		return errors.Join(fmt.Errorf("read %s: %w", s.path(), err), s.file.Close())
	}
	s.size = int64(len(data))
	at := segmentHeader
	if newest && (!s.isHeader(data) || !isFrame(s.seed, data, at)) {
		// Before the checkpoint is on the disk, nothing is written behind it.
		if later := s.later(data, at); later > 0 {
			return errors.Join(l.corrupt(s, data, 0, fmt.Sprintf("its beginning is bad, but there is a good frame at %d", later)), s.file.Close())
		}
		return errors.Join(s.file.Close(), l.cfg.FS.Remove(s.dir, segmentName(number)), l.cfg.FS.SyncDir(s.dir))
	}
	if !s.isHeader(data) {
		return errors.Join(l.corrupt(s, data, 0, "its header is bad"), s.file.Close())
	}
	l.segments = append(l.segments, s)
	if at, err = l.replay(s, data); err != nil {
		return err
	}
	s.end = int64(at)
	switch {
	case s.sealed:
		if !newest {
			return nil
		}
	case !newest:
		return l.corrupt(s, data, at, "a bad frame")
	default:
		if later := s.later(data, at); later > 0 {
			return l.corrupt(s, data, at, fmt.Sprintf("a bad frame, with a good one of a later write at %d", later))
		}
	}
	clear(data[at:])
	if _, err := s.file.WriteAt(data, 0); err != nil {
		return fmt.Errorf("write %s again: %w", s.path(), err)
	}
	if err := errors.Join(s.file.Sync(), l.cfg.FS.SyncDir(s.dir)); err != nil {
		return fmt.Errorf("write %s again: %w", s.path(), err)
	}
	return nil
}

func isFrame(s seed, data []byte, at int) bool {
	if at > len(data) {
		return false
	}
	_, err := decodeFrame(s, data[at:])
	return err == nil
}

// replay applies the frames of a segment, and returns where the first one would begin that
// is bad, or is not there.
func (l *Log) replay(s *segment, data []byte) (at int, err error) {
	batch := uint32(segmentHeader)
	for at = segmentHeader; at < len(data) && !s.sealed; {
		f, err := decodeFrame(s.seed, data[at:])
		if err != nil {
			return at, nil
		}
		if f.batch != batch && f.batch != uint32(at) {
			return at, l.corrupt(s, data, at, fmt.Sprintf("a frame of the batch at %d", f.batch))
		}
		batch = f.batch
		if (at == segmentHeader) != (f.kind == kindCheckpoint) {
			return at, l.corrupt(s, data, at, "a checkpoint anywhere but at the beginning, or none there")
		}
		if err := l.replayFrame(s, &f, int64(at)); err != nil {
			return at, l.corrupt(s, data, at, err.Error())
		}
		at += f.size()
	}
	return at, nil
}

// replayFrame applies one frame of a segment.
func (l *Log) replayFrame(s *segment, f *frame, at int64) error {
	if f.kind == kindCheckpoint {
		s.begin = at + int64(f.size())
		return l.replayCheckpoint(f)
	}
	r, err := decodeRecord(f)
	if err != nil {
		return err
	}
	if r.kind == kindSeal {
		s.sealed = true
		return nil
	}
	g := l.numbered[r.group]
	if r.kind == kindMake {
		if g != nil || l.groups[r.name] != nil || r.group < l.next || len(l.groups) >= maxGroups {
			return fmt.Errorf("group %d, %q, is made once more", r.group, r.name)
		}
		g = &Group{log: l, name: r.name, number: r.group, values: map[string][]byte{}}
	}
	if g == nil {
		return fmt.Errorf("group %d is not known", r.group)
	}
	r.value = bytes.Clone(r.value)
	return l.apply(g, &r, newPosition(s.number, at))
}

// replayCheckpoint begins with the states of a checkpoint, if it is the first one, or
// compares it with what the segments before say.
func (l *Log) replayCheckpoint(f *frame) error {
	next, states, err := decodeCheckpoint(f.payload)
	if err != nil {
		return err
	}
	if len(l.segments) > 1 {
		b := appendCheckpoint(nil, l.next, l.states())
		if !bytes.Equal(b[frameHeader:frameHeader+len(f.payload)], f.payload) {
			return errors.New("the checkpoint is not what the segments before say")
		}
		return nil
	}
	l.next = next
	for _, st := range states {
		g := &Group{log: l, name: st.name, number: st.number, bounds: st.bounds, values: st.values}
		if !st.bounds.empty() {
			n := st.bounds.last - st.bounds.first + 1
			if n > 1<<32 {
				return fmt.Errorf("group %s has %d entries", st.name, n)
			}
			g.at = make([]position, n)
		}
		if l.groups[g.name] != nil {
			return fmt.Errorf("group %q is there twice", g.name)
		}
		l.groups[g.name], l.numbered[g.number] = g, g
	}
	return nil
}

// later returns where the first good frame is of a batch that was begun behind at, 0 if
// there is none.
func (s *segment) later(data []byte, at int) int {
	for i := at; i+frameHeader <= len(data); i += 8 {
		if f, err := decodeFrame(s.seed, data[i:]); err == nil && int64(f.batch) > int64(at) {
			return i
		}
	}
	return 0
}

// corrupt returns the error for what is found in a segment.
func (l *Log) corrupt(s *segment, data []byte, at int, reason string) error {
	numbers := map[uint32]bool{}
	if f, err := decodeHeader(s.seed, data[min(at, len(data)):]); err == nil && at > 0 {
		numbers[f.group] = true // of a frame whose payload is bad
	} else {
		for i := segmentHeader; i+frameHeader <= len(data); i += 8 {
			if f, err := decodeFrame(s.seed, data[i:]); err == nil {
				numbers[f.group] = true
			}
		}
	}
	return &CorruptError{Segment: s.path(), Offset: int64(at), Groups: l.names(numbers), Reason: reason}
}

// names returns the names of the groups with those numbers; nil: of all.
func (l *Log) names(numbers map[uint32]bool) []string {
	var names []string
	for number, g := range l.numbered {
		if numbers == nil || numbers[number] {
			names = append(names, g.name)
		}
	}
	slices.Sort(names)
	return names
}
