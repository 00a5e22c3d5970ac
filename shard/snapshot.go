package shard

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/belfry-im/belfry/shard/codec"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/ring"
	"github.com/cespare/xxhash/v2"
)

// snapshotVersion is the version of a snapshot: a sequence of frames, each a uvarint
// length and that many bytes. The first byte says what a frame holds:
//
//	header  "belfry", version, version of the configuration, epoch, map epoch, time, cutoff, limits
//	moves   tick, moves that are over; absent before the first one
//	slot    number, frozen
//	leaving …  the move of the slot above to another shard, see moverecord.go
//	arriving …  as a slot, behind all of them: a slot that is on the move to this shard
//	hook records  records of a queue for webhooks: of the moving slot above or, after hooks, of the shard
//	user …  the frames of a user of the slot above, in order of name
//	hooks   limit and last removed number of the queue for webhooks; absent if it was never used
//	end     xxhash64 of all bytes before this frame
//
// A shard that has had no move writes the version before, which is the same without moves:
// programs that do not know moves can read it.
const (
	snapshotVersion       = 5
	oldestSnapshotVersion = 4
)

// OldestStateVersion is the oldest version that Restore reads.
const OldestStateVersion = oldestSnapshotVersion

// StateVersion is the version in which states are encoded. Checksums of one state differ
// between versions.
const StateVersion = snapshotVersion

const snapshotMagic = "belfry"

const (
	frameHeader byte = iota + 16
	frameSlot
	frameEnd
	frameHooks
)

// frameHookRecords is the kind of a frame that a slot's bytes have too.
const frameHookRecords = frameHeader - 1

// chunkBytes is about how much SnapshotWriter.Next appends. It bounds how long the
// owner's lock is held at a time: some tens of microseconds. A single frame may be
// longer.
const chunkBytes = 64 << 10

// A SnapshotWriter writes the state as it was when State.Snapshot was called, while
// commands go on changing it. To begin a snapshot costs next to nothing. Before a user
// who is not written yet changes, an image is made: a copy of the parts that change in
// place. Memory that the user frees is held until the image is written.
type SnapshotWriter struct {
	s              *State
	number         uint64               // the snapshot's number, see State.snapshots
	slots          [command.Slots]*slot // as of the snapshot
	frozen         map[uint16]bool      // slots that were frozen
	arriving       []*slot              // slots on the move to this shard that are still to be written
	moves          map[*slot][]piece    // frames of the slots that are on the move, as of the snapshot
	nextSlot       int                  // number of the next slot
	users          []*user              // users of the current slot that are still to be written
	current        *user                // user being written, or nil
	encoder        userEncoder          // encodes current, or its image
	hooks          hookQueue            // State.hooks as of the snapshot
	expiryRules    uint32               // State.expiryRules as of the snapshot
	pieces         []piece              // frames that come next
	usersWithImage []*user              // users that got an image
	removed        map[*slot][]*user    // users removed since the snapshot began, of slots still to be written
	frame          []byte               // frame to append next, at first the header; empty = none
	hash           *xxhash.Digest
	slotsDone      bool // all slots are written, and the hooks frame
	done           bool // all but the end frame is written
	endWritten     bool // the end frame is written

	chunkBytes, frameBytes int // as the constants; tests set less
}

// An image is a copy of a user as of the beginning of a snapshot.
type image struct {
	snapshot uint64 // number of the snapshot
	user     user
	held     ring.Held // memory that the user has freed since
}

// Snapshot begins a snapshot of the present state. The caller must call Release before
// it begins another.
func (s *State) Snapshot() *SnapshotWriter {
	if s.snapshot != nil {
		panicInvariant("a snapshot is being taken already")
	}
	s.snapshots++
	w := &SnapshotWriter{s: s, number: s.snapshots, slots: s.slots, hooks: s.hooks.clone(), expiryRules: s.expiryRules, hash: xxhash.New(), removed: make(map[*slot][]*user), chunkBytes: chunkBytes, frameBytes: frameBytes}
	version := byte(oldestSnapshotVersion)
	if w.addMoves() {
		version = snapshotVersion
	}
	x := codec.NewWriter(append(append([]byte{frameHeader}, snapshotMagic...), version))
	s.headerFields(&x)
	w.frame = x.B
	s.snapshot = w
	return w
}

// Release ends the snapshot, whether all of it was written or not. It must be called
// once.
func (w *SnapshotWriter) Release() {
	w.s.snapshot = nil
	if !w.done {
		w.s.staleImages = append(w.s.staleImages, w.usersWithImage)
	}
}

// releasedPerApply is how many images each Apply frees, if a snapshot was released
// before it had written all.
const releasedPerApply = 64

// releaseImages frees up to n images of snapshots that were released early.
func (s *State) releaseImages(n int) {
	for len(s.staleImages) > 0 {
		last := &s.staleImages[len(s.staleImages)-1]
		for ; len(*last) > 0; *last = (*last)[:len(*last)-1] {
			if n--; n < 0 {
				return
			}
			if u := (*last)[len(*last)-1]; s.snapshot == nil || s.snapshot.image(u) == nil {
				s.releaseImage(u)
			}
		}
		s.staleImages = s.staleImages[:len(s.staleImages)-1]
	}
	s.staleImages = nil
}

// image returns a user's image for this snapshot, or nil if there is none. An image
// that an earlier snapshot left does not count.
func (w *SnapshotWriter) image(u *user) *image {
	if u.image == nil || u.image.snapshot != w.number {
		return nil
	}
	return u.image
}

// copyForSnapshot makes a user's image if a snapshot still has to write the user, and notes
// the change if the user's slot is on the move. It must be called before any change of the
// user.
func (s *State) copyForSnapshot(u *user) {
	if s.snapshot != nil || len(s.leaving) > 0 {
		s.beforeChange(u)
	}
}

// beforeChange is copyForSnapshot while there is a snapshot or a move.
func (s *State) beforeChange(u *user) {
	if len(s.leaving) > 0 {
		s.noteChange(u)
	}
	if w := s.snapshot; w != nil && u.snapshot < w.number {
		w.addImage(u)
	}
}

// addImage makes the image of a user. It copies what changes in place; logs, letters
// and dedup records are only appended to, and are shared.
func (w *SnapshotWriter) addImage(u *user) {
	w.s.releaseImage(u) // of an earlier snapshot
	a := w.s.arena
	im := &image{snapshot: w.number, user: *u}
	for i := range u.extra.items {
		u.extra.items[i].shared = true
	}
	im.user.convs, im.user.cold, im.user.extra = u.convs.clone(a), u.cold.clone(a), u.extra.clone(a)
	im.user.imports = u.imports.clone(a)
	im.user.memberships = u.memberships.clone(a)
	if u.group != nil {
		im.user.group = u.group.clone(a)
	}
	im.user.outbox = slices.Clone(u.outbox)
	im.user.sessions = slices.Clone(u.sessions)
	for i := range im.user.sessions {
		ss := &im.user.sessions[i]
		ss.answers = slices.Clone(ss.answers)
	}
	u.image, u.snapshot = im, w.number
	w.usersWithImage = append(w.usersWithImage, u)
}

// releaseImage frees the image of a user, if there is one, and the memory held for it.
func (s *State) releaseImage(u *user) {
	im := u.image
	if im == nil {
		return
	}
	u.image = nil
	s.arena.HoldIn(nil)
	im.user.convs.free(s.arena)
	im.user.cold.free(s.arena)
	im.user.extra.free(s.arena)
	im.user.imports.free(s.arena)
	im.user.memberships.free(s.arena)
	if im.user.group != nil {
		im.user.group.members.free(s.arena)
		im.user.group.sanctions.free(s.arena)
	}
	s.arena.Release(&im.held)
}

// holdFor has to be called before pieces of the arena that belong to u are freed: if u
// has an image, they are held until the image is released.
func (s *State) holdFor(u *user) {
	if u.image != nil {
		s.arena.HoldIn(&u.image.held)
	} else {
		s.arena.HoldIn(nil)
	}
}

// Next appends the next chunk of the snapshot to dst, and reports whether there are
// more. The owner must hold the lock that guards Apply, and may apply batches between
// two calls.
func (w *SnapshotWriter) Next(dst []byte) (chunk []byte, more bool) {
	start := len(dst)
	for !w.done && len(dst)-start < w.chunkBytes {
		if len(w.frame) == 0 {
			w.step()
		}
		if len(w.frame) > 0 {
			dst = appendFrame(dst, w.frame)
			w.frame = w.frame[:0]
		}
	}
	if w.current != nil && w.image(w.current) == nil {
		w.addImage(w.current) // before the user changes while half written
		w.encoder.u = &w.current.image.user
	}
	if len(dst) > start {
		w.hash.Write(dst[start:])
	}
	if !w.done {
		return dst, true
	}
	if !w.endWritten {
		w.endWritten = true
		end := binary.LittleEndian.AppendUint64([]byte{frameEnd}, w.hash.Sum64())
		dst = appendFrame(dst, end)
	}
	return dst, false
}

// step goes one step on, which may leave a frame in w.frame.
func (w *SnapshotWriter) step() {
	switch {
	case len(w.pieces) > 0:
		w.frame = append(append(w.frame, w.pieces[0].kind), w.pieces[0].b...)
		w.pieces = w.pieces[1:]
	case w.current != nil:
		w.frame = w.encoder.appendNext(w.s, w.frame, true)
		if len(w.frame) == 0 {
			w.s.releaseImage(w.current)
			w.current = nil
		}
	case len(w.users) > 0:
		w.current = w.users[0]
		w.users = w.users[1:]
		w.encoder = userEncoder{u: w.current, limit: w.frameBytes, expiryRules: w.expiryRules}
		if im := w.image(w.current); im != nil {
			w.encoder.u = &im.user
		}
		w.current.snapshot = w.number
	case w.nextSlot < command.Slots:
		number, sl := w.nextSlot, w.slots[w.nextSlot]
		w.nextSlot++
		if sl == nil {
			return
		}
		w.frame = codec.AppendBool(codec.AppendUint(append(w.frame, frameSlot), uint64(number)), w.frozen[uint16(number)])
		w.begin(sl)
	case len(w.arriving) > 0:
		w.begin(w.arriving[0])
		w.arriving = w.arriving[1:]
	case !w.slotsDone && w.hooks.limit+int(w.hooks.last) > 0:
		w.slotsDone = true
		w.frame = codec.AppendUint(codec.AppendUint(append(w.frame, frameHooks), uint64(w.hooks.limit)), w.hooks.removedUpTo)
		w.pieces = hookPieces(nil, &w.hooks)
	default:
		w.done = true
	}
}

// begin begins to write a slot.
func (w *SnapshotWriter) begin(sl *slot) {
	sl.snapshot = w.number
	w.pieces = w.moves[sl]
	w.users = w.users[:0]
	for _, u := range w.s.usersByName(sl) {
		if u.snapshot < w.number || w.image(u) != nil {
			w.users = append(w.users, u)
		}
	}
	if gone := w.removed[sl]; len(gone) > 0 {
		w.users = append(w.users, gone...)
		slices.SortFunc(w.users, byName)
	}
}

func appendFrame(b, frame []byte) []byte {
	return append(codec.AppendUint(b, uint64(len(frame))), frame...)
}

// headerFields writes or reads what the header frame holds after magic and version.
func (s *State) headerFields(x *codec.Coder) {
	codec.Uint(x, &s.version)
	codec.Uint(x, &s.epoch)
	codec.Uint(x, &s.mapEpoch)
	codec.Int(x, &s.now)
	codec.Int(x, &s.cutoff)
	s.limits.Fields(x)
}

// Restore returns the state that a snapshot holds.
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
	var number uint16 // of the slot being restored
	var lv *leaving   // its move to another shard, if there is one
	var arr *arriving // the move to this shard that is being restored, if it is one; no slot comes after it
	for {
		before := fr.hash.Sum64()
		frame, err := fr.next()
		if err != nil {
			return err
		}
		x := codec.NewReader(frame)
		switch kind := x.Decoder.Byte(); {
		case kind == frameHeader && !headed:
			headed = true
			if string(x.Decoder.Take(uint64(len(snapshotMagic)))) != snapshotMagic {
				return errors.New("not a snapshot")
			}
			if v := x.Decoder.Byte(); v < oldestSnapshotVersion || v > snapshotVersion {
				return fmt.Errorf("version %d, this program knows %d to %d", v, oldestSnapshotVersion, snapshotVersion)
			}
			s.headerFields(&x)
			s.limits = s.limits.WithDefaults()
			s.byAge.advance(s.now)
		case kind == frameMoves && headed && l.slot == nil && !hooked:
			s.movesFields(&x)
		case kind == frameSlot && headed && !hooked && arr == nil:
			if l.finish(); l.err != nil {
				return l.err
			}
			command.Slot(&x, &number)
			if s.slots[number] != nil {
				return fmt.Errorf("slot %d comes twice", number)
			}
			l.slot, l.hooks, lv = &slot{frozen: x.Decoder.Bool()}, nil, nil
			s.slots[number] = l.slot
			if !l.slot.frozen {
				s.served++
			}
		case kind == frameLeaving && l.slot != nil && !hooked && arr == nil && lv == nil:
			lv = l.leaving(number, &x)
		case kind == frameChanges && lv != nil && !hooked && arr == nil:
			l.changes(lv, &x)
		case kind == frameArriving && headed && !hooked:
			if l.finish(); l.err != nil {
				return l.err
			}
			arr = l.arrival(&x)
		case kind == framePartial && arr != nil && !hooked:
			arr.partial = append(arr.partial, x.B...)
			x.B = nil
		case kind == frameHooks && headed && !hooked:
			hooked = true
			l.finish()
			s.hooks.limit, s.hooks.removedUpTo = int(x.Decoder.UintMax(math.MaxInt32)), x.Decoder.UintMax(1<<62)
			s.hooks.last = s.hooks.removedUpTo
		case kind == frameHookRecords && hooked:
			s.hooks.decode(&x.Decoder)
		case kind < frameHeader && l.slot != nil && !hooked:
			if err := l.frame(frame); err != nil {
				return err
			}
			x.B = nil
		case kind == frameEnd && headed:
			if l.finish(); l.err != nil {
				return l.err
			}
			if sum := x.Decoder.Take(8); x.Err == nil && binary.LittleEndian.Uint64(sum) != before {
				return errors.New("checksum differs")
			}
			return x.End()
		default:
			return codec.ErrMalformed
		}
		if err := x.End(); err != nil {
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

// next returns the next frame, which is valid until the following call. It allocates as
// bytes arrive, not by the length that a damaged file may claim.
func (fr *frameReader) next() ([]byte, error) {
	n, err := binary.ReadUvarint(fr.r)
	if err != nil {
		return nil, fmt.Errorf("frame length: %w", err)
	}
	if n == 0 || n > 1<<40 {
		return nil, fmt.Errorf("frame of %d bytes: %w", n, codec.ErrMalformed)
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
