package shard

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/cespare/xxhash/v2"
)

// A snapshot is a sequence of frames, each a uvarint length and that many
// bytes, of which the first says what the frame holds:
//
//	header  "belfry", version, epoch, time, cutoff, limits
//	slot    number, frozen
//	user    a record of the slot above, in order of name
//	end     xxhash64 of all bytes before this frame
const snapshotVersion = 1

const snapshotMagic = "belfry"

const (
	frameHeader byte = iota + 1
	frameSlot
	frameUser
	frameEnd
)

// chunkBytes is about what View.Next gives at a time, and so how long the
// owner's lock is held: some tens of microseconds. One user can be more.
const chunkBytes = 64 << 10

// A View is the state as of State.Snapshot, while the state goes on. Marking
// costs next to nothing: bytes of the logs stay where they are until Release,
// and the headers of a user are copied before his first change.
type View struct {
	s      *State
	mark   uint64
	frames []byte // of the header, then what is being gathered
	slots  []viewSlot
	users  []*user // of the slot being walked, still to come
	saved  map[*user]*user
	hash   *xxhash.Digest
	done   bool
}

type viewSlot struct {
	number uint16
	frozen bool
	slot   *slot
}

// Snapshot marks the present state. One view can be open at a time.
func (s *State) Snapshot() *View {
	if s.view != nil {
		broken("a snapshot is being taken already")
	}
	s.marks++
	v := &View{s: s, mark: s.marks, saved: map[*user]*user{}, hash: xxhash.New()}
	head := append([]byte{frameHeader}, snapshotMagic...)
	head = appendUint(append(head, snapshotVersion), s.epoch)
	head = appendInt(appendInt(head, s.now), s.cutoff)
	v.frames = appendFrame(nil, appendLimits(head, s.limits))
	for number, sl := range s.slots {
		if sl != nil {
			v.slots = append(v.slots, viewSlot{number: uint16(number), frozen: sl.frozen, slot: sl})
		}
	}
	s.view = v
	s.arena.Pin()
	return v
}

// Release ends the view. It must be called once, whether Next came to the end
// or not.
func (v *View) Release() {
	v.s.view = nil
	v.s.arena.Unpin()
}

// save keeps the headers of a user, before a change, for a view that has not
// come to him yet.
func (s *State) save(u *user) {
	if v := s.view; v != nil && u.marked < v.mark {
		v.saved[u] = u.clone()
		u.marked = v.mark
	}
}

// clone copies what changes in place. Logs, letters and sent records only grow
// at their end and are shared.
func (u *user) clone() *user {
	c := *u
	c.convs = slices.Clone(u.convs)
	c.extras = slices.Clone(u.extras)
	for i := range c.extras {
		x := &c.extras[i]
		x.marks, x.lost, x.gone = slices.Clone(x.marks), slices.Clone(x.lost), slices.Clone(x.gone)
	}
	c.outbox = slices.Clone(u.outbox)
	c.sessions = slices.Clone(u.sessions)
	for i := range c.sessions {
		c.sessions[i].answers = slices.Clone(c.sessions[i].answers)
	}
	return &c
}

// Next appends the next chunk of the snapshot to dst. The owner calls it under
// the lock of Apply, and may let commands in between two calls.
func (v *View) Next(dst []byte) (chunk []byte, more bool) {
	start := len(dst)
	dst = append(dst, v.frames...)
	v.frames = nil
	for len(dst)-start < chunkBytes {
		switch {
		case len(v.users) > 0:
			u := v.users[0]
			v.users = v.users[1:]
			image := u
			if saved := v.saved[u]; saved != nil {
				image = saved
				delete(v.saved, u)
			}
			u.marked = v.mark
			dst = appendFrame(dst, v.s.appendUser([]byte{frameUser}, image))
		case len(v.slots) > 0:
			next := v.slots[0]
			v.slots = v.slots[1:]
			dst = appendFrame(dst, appendBool(appendUint([]byte{frameSlot}, uint64(next.number)), next.frozen))
			for _, u := range next.slot.sorted() {
				if u.marked < v.mark || v.saved[u] != nil {
					v.users = append(v.users, u)
				}
			}
		case !v.done:
			v.done = true
			v.hash.Write(dst[start:])
			end := binary.LittleEndian.AppendUint64([]byte{frameEnd}, v.hash.Sum64())
			return appendFrame(dst, end), false
		default:
			return dst, false
		}
	}
	v.hash.Write(dst[start:])
	return dst, true
}

func appendFrame(b, frame []byte) []byte { return append(appendUint(b, uint64(len(frame))), frame...) }

// Restore reads a snapshot into a new state.
func Restore(r io.Reader, id uint32) (*State, error) {
	s := NewState(id)
	if err := s.restore(&frameReader{r: bufio.NewReaderSize(r, 64<<10), hash: xxhash.New()}); err != nil {
		return nil, fmt.Errorf("shard %d: snapshot: %w", id, err)
	}
	return s, nil
}

func (s *State) restore(fr *frameReader) error {
	var sl *slot
	headed := false
	for {
		before := fr.hash.Sum64()
		frame, err := fr.next()
		if err != nil {
			return err
		}
		d := decoder{b: frame}
		switch kind := d.byte(); {
		case kind == frameHeader && !headed:
			headed = true
			if string(d.take(uint64(len(snapshotMagic)))) != snapshotMagic {
				return errors.New("not a snapshot")
			}
			if v := d.byte(); v != snapshotVersion {
				return fmt.Errorf("version %d, this program knows %d", v, snapshotVersion)
			}
			s.epoch, s.now, s.cutoff, s.limits = d.uint(), d.int(), d.int(), d.limits().WithDefaults()
		case kind == frameSlot && headed:
			number := d.slot()
			if s.slots[number] != nil {
				return fmt.Errorf("slot %d comes twice", number)
			}
			sl = &slot{frozen: d.bool(), users: map[UserID]*user{}}
			s.slots[number] = sl
		case kind == frameUser && sl != nil:
			if err := s.addUser(sl, d.take(uint64(len(d.b)))); err != nil {
				return err
			}
		case kind == frameEnd && headed:
			if sum := d.take(8); d.err == nil && binary.LittleEndian.Uint64(sum) != before {
				return errors.New("checksum differs")
			}
			return d.end()
		default:
			return errMalformed
		}
		if err := d.end(); err != nil {
			return err
		}
	}
}

func (s *State) addUser(sl *slot, record []byte) error {
	u, err := s.decodeUser(record)
	if err != nil {
		return err
	}
	if sl.users[u.name] != nil || u.name == "" {
		return fmt.Errorf("user %q: %w", u.name, errMalformed)
	}
	sl.users[u.name] = u
	s.users++
	return nil
}

// A frameReader reads frames and hashes what it has read.
type frameReader struct {
	r    *bufio.Reader
	hash *xxhash.Digest
	buf  bytes.Buffer
}

// next returns a frame, valid until the following call. Memory grows with the
// bytes that are really there, whatever the length claims.
func (fr *frameReader) next() ([]byte, error) {
	n, err := binary.ReadUvarint(fr.r)
	if err != nil {
		return nil, fmt.Errorf("frame length: %w", err)
	}
	if n == 0 || n > 1<<40 {
		return nil, fmt.Errorf("frame of %d bytes: %w", n, errMalformed)
	}
	fr.buf.Reset()
	if _, err := io.CopyN(&fr.buf, fr.r, int64(n)); err != nil {
		return nil, fmt.Errorf("frame of %d bytes: %w", n, err)
	}
	var head [binary.MaxVarintLen64]byte
	fr.hash.Write(head[:binary.PutUvarint(head[:], n)])
	fr.hash.Write(fr.buf.Bytes())
	return fr.buf.Bytes(), nil
}
