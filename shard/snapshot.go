package shard

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/ring"
	"github.com/cespare/xxhash/v2"
)

// A snapshot is a sequence of frames, each a uvarint length and that many
// bytes, of which the first says what the frame holds:
//
//	header  "belfry", version, epoch, time, cutoff, limits
//	slot    number, frozen
//	stored  records that wait for hooks: of the frozen slot above, after hooks of the shard
//	user …  the frames of a user of the slot above, in order of name
//	hooks   limit and position of what waits for hooks; absent when there was never any
//	end     xxhash64 of all bytes before this frame
const snapshotVersion = 2

const snapshotMagic = "belfry"

const (
	frameHeader byte = iota + 16
	frameSlot
	frameEnd
	frameHooks
)

// frameStored is also a frame of a slot.
const frameStored = frameHeader - 1

// chunkBytes is about what View.Next gives at a time, and so how long the
// owner's lock is held: some tens of microseconds. One frame can be more.
const chunkBytes = 64 << 10

// A View is the state as of State.Snapshot, while the state goes on. Marking
// costs next to nothing: before a user changes that the view has not come to,
// his headers are copied, and what he frees stays where it is until then.
type View struct {
	s         *State
	mark      uint64
	slots     [command.Slots]*slot
	next      int      // slot to come
	users     []*user  // of the slot being walked, still to come
	at        *user    // being walked, or nil
	walk      userWalk // of at, or of his image
	hooks     hookQueue
	carried   map[*slot]*hookQueue
	queue     [][]byte          // records that wait for hooks, still to come
	saved     []*user           // who got an image
	gone      map[*slot][]*user // forgotten since, of slots still to come
	frame     []byte            // that was written last, of the header at first
	hash      *xxhash.Digest
	slotsDone bool // the slots are written
	done      bool // all is written
	ended     bool // the last frame, too

	chunkBytes, frameBytes int // as the constants; tests use less
}

// An image is a user as he was when the view was marked.
type image struct {
	mark uint64 // of the view
	user user
	held ring.Held // what he has freed since
}

// Snapshot marks the present state. One view can be open at a time.
func (s *State) Snapshot() *View {
	if s.view != nil {
		broken("a snapshot is being taken already")
	}
	s.marks++
	v := &View{s: s, mark: s.marks, slots: s.slots, hooks: s.hooks.clone(), carried: maps.Clone(s.carried), hash: xxhash.New(), gone: make(map[*slot][]*user), chunkBytes: chunkBytes, frameBytes: frameBytes}
	head := append([]byte{frameHeader}, snapshotMagic...)
	head = command.AppendUint(append(head, snapshotVersion), s.epoch)
	head = command.AppendInt(command.AppendInt(head, s.now), s.cutoff)
	v.frame = command.AppendLimits(head, s.limits)
	s.view = v
	return v
}

// Release ends the view. It must be called once, whether Next came to the end
// or not.
func (v *View) Release() {
	v.s.view = nil
	if !v.done {
		v.s.stale = append(v.s.stale, v.saved)
	}
}

// imagesPerApply is how many images a batch takes along that a view released
// before its end has left behind.
const imagesPerApply = 64

// dropImages gives up to n images back that no view will come to.
func (s *State) dropImages(n int) {
	for len(s.stale) > 0 {
		last := &s.stale[len(s.stale)-1]
		for ; len(*last) > 0; *last = (*last)[:len(*last)-1] {
			if n--; n < 0 {
				return
			}
			if u := (*last)[len(*last)-1]; s.view == nil || s.view.image(u) == nil {
				s.dropImage(u)
			}
		}
		s.stale = s.stale[:len(s.stale)-1]
	}
	s.stale = nil
}

// image gives that of a user for this view, nil if there is none. Another may
// be left of a view before.
func (v *View) image(u *user) *image {
	if u.image == nil || u.image.mark != v.mark {
		return nil
	}
	return u.image
}

// save keeps a user as he is, before a change, for a view that has not come to
// him yet.
func (s *State) save(u *user) {
	if v := s.view; v != nil && u.marked < v.mark {
		v.keep(u)
	}
}

// keep makes the image of a user: a copy of what changes in place. Logs,
// letters and sent records only grow at their end and are shared.
func (v *View) keep(u *user) {
	v.s.dropImage(u) // of a view before
	a := v.s.arena
	im := &image{mark: v.mark, user: *u}
	for i := range u.extras.items {
		u.extras.items[i].shared = true
	}
	im.user.convs, im.user.colds, im.user.extras = u.convs.clone(a), u.colds.clone(a), u.extras.clone(a)
	im.user.imports = u.imports.clone(a)
	im.user.teams = u.teams.clone(a)
	if u.team != nil {
		im.user.team = u.team.clone(a)
	}
	im.user.outbox = slices.Clone(u.outbox)
	im.user.sessions = slices.Clone(u.sessions)
	for i := range im.user.sessions {
		ss := &im.user.sessions[i]
		ss.answers = slices.Clone(ss.answers)
	}
	u.image, u.marked = im, v.mark
	v.saved = append(v.saved, u)
}

func (s *State) dropImage(u *user) {
	im := u.image
	if im == nil {
		return
	}
	u.image = nil
	s.arena.HoldIn(nil)
	im.user.convs.free(s.arena)
	im.user.colds.free(s.arena)
	im.user.extras.free(s.arena)
	im.user.imports.free(s.arena)
	im.user.teams.free(s.arena)
	if im.user.team != nil {
		im.user.team.members.free(s.arena)
		im.user.team.sanctions.free(s.arena)
	}
	s.arena.Release(&im.held)
}

// frees says whose pieces of the arena are freed from now on: those of a user
// with an image stay until that is dropped.
func (s *State) frees(u *user) {
	if u.image != nil {
		s.arena.HoldIn(&u.image.held)
	} else {
		s.arena.HoldIn(nil)
	}
}

// Next appends the next chunk of the snapshot to dst. The owner calls it under
// the lock of Apply, and may let commands in between two calls.
func (v *View) Next(dst []byte) (chunk []byte, more bool) {
	start := len(dst)
	for !v.done && len(dst)-start < v.chunkBytes {
		if len(v.frame) == 0 {
			v.step()
		}
		if len(v.frame) > 0 {
			dst = appendFrame(dst, v.frame)
			v.frame = v.frame[:0]
		}
	}
	if v.at != nil && v.image(v.at) == nil {
		v.keep(v.at) // before he changes half-way
		v.walk.u = &v.at.image.user
	}
	if len(dst) > start {
		v.hash.Write(dst[start:])
	}
	if !v.done {
		return dst, true
	}
	if !v.ended {
		v.ended = true
		end := binary.LittleEndian.AppendUint64([]byte{frameEnd}, v.hash.Sum64())
		dst = appendFrame(dst, end)
	}
	return dst, false
}

// step takes one step of the walk, which may write a frame.
func (v *View) step() {
	switch {
	case len(v.queue) > 0:
		v.frame = append(append(v.frame, frameStored), v.queue[0]...)
		v.queue = v.queue[1:]
	case v.at != nil:
		v.frame = v.walk.appendNext(v.s, v.frame, true)
		if len(v.frame) == 0 {
			v.s.dropImage(v.at)
			v.at = nil
		}
	case len(v.users) > 0:
		v.at = v.users[0]
		v.users = v.users[1:]
		v.walk = userWalk{u: v.at, limit: v.frameBytes}
		if im := v.image(v.at); im != nil {
			v.walk.u = &im.user
		}
		v.at.marked = v.mark
	case v.next < command.Slots:
		number, sl := v.next, v.slots[v.next]
		v.next++
		if sl == nil {
			return
		}
		frozen := sl.frozen && sl.frozenIn < v.mark
		v.frame = command.AppendBool(command.AppendUint(append(v.frame, frameSlot), uint64(number)), frozen)
		if hooks := v.carried[sl]; hooks != nil {
			v.queue = hooks.pieces()
		}
		v.users = v.users[:0]
		for _, u := range v.s.sorted(sl) {
			if u.marked < v.mark || v.image(u) != nil {
				v.users = append(v.users, u)
			}
		}
		if gone := v.gone[sl]; len(gone) > 0 {
			v.users = append(v.users, gone...)
			slices.SortFunc(v.users, byName)
		}
	case !v.slotsDone && v.hooks.limit+int(v.hooks.last) > 0:
		v.slotsDone = true
		v.frame = command.AppendUint(command.AppendUint(append(v.frame, frameHooks), uint64(v.hooks.limit)), v.hooks.done)
		v.queue = v.hooks.pieces()
	default:
		v.done = true
	}
}

func appendFrame(b, frame []byte) []byte {
	return append(command.AppendUint(b, uint64(len(frame))), frame...)
}

// Restore reads a snapshot into a new state.
func Restore(r io.Reader, id uint32) (*State, error) {
	s := NewState(id)
	if err := s.restore(&frameReader{r: bufio.NewReaderSize(r, 64<<10), hash: xxhash.New()}); err != nil {
		return nil, fmt.Errorf("shard %d: snapshot: %w", id, err)
	}
	return s, nil
}

func (s *State) restore(fr *frameReader) error {
	l := loader{s: s}
	headed, hooked := false, false
	for {
		before := fr.hash.Sum64()
		frame, err := fr.next()
		if err != nil {
			return err
		}
		d := command.Decoder{B: frame}
		switch kind := d.Byte(); {
		case kind == frameHeader && !headed:
			headed = true
			if string(d.Take(uint64(len(snapshotMagic)))) != snapshotMagic {
				return errors.New("not a snapshot")
			}
			if v := d.Byte(); v != snapshotVersion {
				return fmt.Errorf("version %d, this program knows %d", v, snapshotVersion)
			}
			s.epoch, s.now, s.cutoff, s.limits = d.Uint(), d.Int(), d.Int(), d.Limits().WithDefaults()
			s.ages.pass(s.now)
		case kind == frameSlot && headed && !hooked:
			number := d.Slot()
			if s.slots[number] != nil {
				return fmt.Errorf("slot %d comes twice", number)
			}
			if l.finish(); l.err != nil {
				return l.err
			}
			l.slot = &slot{frozen: d.Bool()}
			s.slots[number] = l.slot
		case kind == frameHooks && headed && !hooked:
			hooked = true
			l.finish()
			s.hooks.limit, s.hooks.done = int(d.UintMax(math.MaxInt32)), d.UintMax(1<<62)
			s.hooks.last = s.hooks.done
		case kind == frameStored && hooked:
			s.hooks.decode(&d)
		case kind < frameHeader && l.slot != nil && !hooked:
			if err := l.frame(command.Decoder{B: frame}); err != nil {
				return err
			}
			d.B = nil
		case kind == frameEnd && headed:
			if l.finish(); l.err != nil {
				return l.err
			}
			if sum := d.Take(8); d.Err == nil && binary.LittleEndian.Uint64(sum) != before {
				return errors.New("checksum differs")
			}
			return d.End()
		default:
			return command.ErrMalformed
		}
		if err := d.End(); err != nil {
			return err
		}
	}
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
		return nil, fmt.Errorf("frame of %d bytes: %w", n, command.ErrMalformed)
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
