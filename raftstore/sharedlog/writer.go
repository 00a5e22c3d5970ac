package sharedlog

import (
	"errors"
	"fmt"
	"time"
)

const (
	// maxBatch is how much is written and synced at once, in bytes, but for a single frame.
	maxBatch = 4 << 20
	// keptBuffer is the size up to which a buffer is kept to be used again.
	keptBuffer = 1 << 20
	// gatherRecent is how long ago the last sync may be if a write is to wait for its
	// groups: later they do not come because of it.
	gatherRecent = 2 * time.Millisecond
)

// A request is what one goroutine waits for.
type request struct {
	group   *Group
	frames  []byte
	records []record
	starts  []int // of the records' frames
	// done gets the answer, after which the request is its maker's again.
	done chan error
}

func (l *Log) newRequest(g *Group) *request {
	r, _ := l.requests.Get().(*request)
	if r == nil {
		r = &request{done: make(chan error, 1)}
	}
	r.group = g
	return r
}

// release keeps a request that has no answer to come, to be used again.
func (l *Log) release(r *request) {
	if cap(r.frames) > keptBuffer {
		return
	}
	clear(r.records)
	r.group, r.frames, r.records, r.starts = nil, r.frames[:0], r.records[:0], r.starts[:0]
	l.requests.Put(r)
}

func (r *request) add(rec record, start int) {
	r.records = append(r.records, rec)
	r.starts = append(r.starts, start)
}

// frame returns the bytes of the frame of a record.
func (r *request) frame(i int) []byte {
	if i+1 < len(r.starts) {
		return r.frames[r.starts[i]:r.starts[i+1]]
	}
	return r.frames[r.starts[i]:]
}

// do writes one record of a group.
func (l *Log) do(rec *record, g *Group) error {
	r := l.newRequest(g)
	defer l.release(r)
	rec.group = g.number
	r.frames = appendRecord(r.frames, rec)
	r.add(*rec, 0)
	return l.submit(r)
}

// submit hands a request to the writer, and waits for its answer.
func (l *Log) submit(r *request) error {
	l.mu.Lock()
	if err := l.unusable(); err != nil {
		l.mu.Unlock()
		return err
	}
	l.pending = append(l.pending, r)
	r.group.waits++
	l.mu.Unlock()
	l.notify()
	return <-r.done
}

// A batch is what the next write will write.
type batch struct {
	frames  []byte
	records []placed
	waiting []*request // whose frames are all in the batch, or in one before
}

// A placed record is one in a batch.
type placed struct {
	record
	owner *Group
	at    position
}

// write is the writer: it runs until the log is closed or fails.
func (l *Log) write() {
	defer close(l.ended)
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	for {
		taken := l.take(timer)
		if taken == nil {
			return
		}
		if left, err := l.commit(taken); err != nil {
			l.fail(err, left)
			return
		}
	}
}

// take waits for requests and returns them; nil once the log is closed and there are none.
func (l *Log) take(timer *time.Timer) []*request {
	for {
		l.mu.RLock()
		some, closing := len(l.pending) > 0, l.closing
		l.mu.RUnlock()
		if some {
			break
		}
		if closing {
			return nil
		}
		<-l.wake
	}
	if l.cfg.Gather > 0 && l.awaited() {
		timer.Reset(l.cfg.Gather)
	gather:
		for l.awaited() {
			select {
			case <-l.wake:
			case <-timer.C:
				break gather
			}
		}
		timer.Stop()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	taken := l.pending
	l.pending = nil
	for _, r := range taken {
		r.group.waits = 0
	}
	return taken
}

// awaited reports whether a group of the last two syncs has nothing to write yet.
func (l *Log) awaited() bool {
	if time.Since(l.answers) > gatherRecent {
		return false
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.closing {
		return false
	}
	for _, groups := range l.synced {
		for _, g := range groups {
			if g.waits == 0 && !g.dropped {
				return true
			}
		}
	}
	return false
}

// commit writes requests, and answers them. After an error left has those that were not
// answered.
func (l *Log) commit(taken []*request) (left []*request, err error) {
	l.synced[1], l.synced[0] = l.synced[0], l.synced[1][:0]
	// Before all else in the batch: what comes behind may delete an entry, or put another
	// one in its place.
	copied, err := l.copySome()
	if err != nil {
		return taken, err
	}
	for i, r := range taken {
		if err := r.check(); err != nil {
			r.done <- err
			continue
		}
		for j := range r.records {
			if err := l.put(r.group, &r.records[j], r.frame(j)); err != nil {
				return append(l.batch.waiting, taken[i:]...), err
			}
		}
		l.synced[0] = append(l.synced[0], r.group)
		l.batch.waiting = append(l.batch.waiting, r)
	}
	if err := l.flush(); err != nil {
		return l.batch.waiting, err
	}
	l.answers = time.Now()
	if copied {
		l.review()
	}
	return nil, l.trim()
}

// check returns why the records of r do not fit what is stored, and stages them if they do.
func (r *request) check() error {
	g := r.group
	if g.gone {
		return ErrClosed
	}
	staged, keys := g.staged, g.keys
	for i := range r.records {
		rec := &r.records[i]
		var err error
		if staged, err = staged.after(rec); err != nil {
			return fmt.Errorf("sharedlog: group %s: %w", g.name, err)
		}
		switch _, known := g.values[rec.key]; {
		case rec.kind == kindDrop:
			g.gone = true // it has no other record
		case rec.kind == kindSet && !known:
			if keys++; keys > maxValues {
				return fmt.Errorf("sharedlog: group %s: set %q: there are %d keys already", g.name, rec.key, maxValues)
			}
		}
	}
	g.staged, g.keys = staged, keys
	return nil
}

// put puts a frame into the batch. If it does not fit, put flushes the batch first, and
// begins another segment if that is full.
func (l *Log) put(g *Group, rec *record, frame []byte) error {
	s := l.current()
	end := s.end + int64(len(l.batch.frames))
	full := end > s.begin && end+int64(len(frame))+sealBytes > int64(l.cfg.SegmentBytes)
	if full || len(l.batch.frames) > 0 && len(l.batch.frames)+len(frame) > maxBatch {
		if err := l.flush(); err != nil {
			return err
		}
	}
	if full {
		if err := l.rotate(); err != nil {
			return err
		}
	}
	l.place(g, rec, frame)
	return nil
}

// place puts a frame into the batch.
func (l *Log) place(g *Group, rec *record, frame []byte) {
	s, start := l.current(), len(l.batch.frames)
	l.batch.frames = append(l.batch.frames, frame...)
	stamp(l.batch.frames[start:], s.seed, uint32(s.end))
	l.batch.records = append(l.batch.records, placed{*rec, g, newPosition(s.number, s.end+int64(start))})
}

// flush writes and syncs the batch. Then what it says is so, and is answered.
func (l *Log) flush() error {
	b := &l.batch
	if len(b.records) == 0 {
		return nil
	}
	s := l.current()
	if err := s.append(b.frames); err != nil {
		return err
	}
	if err := l.applyBatch(s); err != nil {
		return err // it was checked before
	}
	for _, r := range b.waiting {
		r.done <- nil
	}
	clear(b.waiting)
	clear(b.records)
	b.waiting, b.records = b.waiting[:0], b.records[:0]
	if b.frames = b.frames[:0]; cap(b.frames) > keptBuffer {
		b.frames = nil
	}
	return nil
}

// applyBatch applies the batch, which is at the end of s.
func (l *Log) applyBatch(s *segment) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	s.end += int64(len(l.batch.frames))
	s.size = max(s.size, s.end)
	for i := range l.batch.records {
		p := &l.batch.records[i]
		if p.owner == nil {
			continue
		}
		if err := l.apply(p.owner, &p.record, p.at); err != nil {
			return err
		}
		p.owner.keys = len(p.owner.values)
	}
	return nil
}

// append writes frames to the end of the segment and syncs them.
func (s *segment) append(frames []byte) error {
	_, err := s.file.WriteAt(frames, s.end)
	if err != nil {
		return fmt.Errorf("write to %s: %w", s.path(), err)
	}
	if err := s.file.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", s.path(), err)
	}
	return nil
}

// rotate seals the segment that is written to, and begins the next one. The batch is empty.
func (l *Log) rotate() error {
	l.place(nil, &record{kind: kindSeal}, appendRecord(nil, &record{kind: kindSeal}))
	if err := l.flush(); err != nil {
		return err
	}
	number := l.current().number
	if number+1 == 0 {
		return errors.New("sharedlog: no numbers for segments are left")
	}
	if err := l.begin(number + 1); err != nil {
		return err
	}
	l.review()
	return nil
}
