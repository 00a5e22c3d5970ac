package sharedlog

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
)

// A kind is that of a frame.
type kind uint8

const (
	kindEntry kind = 1 + iota
	kindCopy
	kindDelete
	kindSet
	kindMake
	kindDrop
	kindCheckpoint
	kindSeal
)

const (
	frameHeader = 24
	// sealBytes is the size of the frame that ends a segment.
	sealBytes = frameHeader
	// MaxEntryBytes bounds data and extensions of an entry together. A larger one is
	// refused.
	MaxEntryBytes = 64 << 20
	maxPayload    = MaxEntryBytes + entryHeader
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errFrame = errors.New("not a frame of this segment")

// A seed is what the checksums of a segment's frames begin with.
type seed uint32

func newSeed(salt [8]byte, number uint32) seed {
	b := binary.LittleEndian.AppendUint64(salt[:], uint64(number))
	return seed(crc32.Checksum(b, castagnoli))
}

func (s seed) sum(b []byte) uint32 { return crc32.Update(uint32(s), castagnoli, b) }

// A frame is one that was decoded. Its payload is part of the decoded bytes.
type frame struct {
	kind    kind
	group   uint32
	batch   uint32
	payload []byte
}

// frameSize returns the size of a frame with that much payload, in bytes.
func frameSize(payload int) int { return (frameHeader + payload + 7) &^ 7 }

func (f *frame) size() int { return frameSize(len(f.payload)) }

// beginFrame appends room for a frame's header to b. endFrame fills it in.
func beginFrame(b []byte) []byte { return append(b, make([]byte, frameHeader)...) }

// endFrame ends the frame that begins at start, but for what stamp does.
func endFrame(b []byte, start int, k kind, group uint32) []byte {
	payload := b[start+frameHeader:]
	h := b[start : start+frameHeader]
	binary.LittleEndian.PutUint32(h[4:], crc32.Checksum(payload, castagnoli))
	binary.LittleEndian.PutUint32(h[8:], uint32(len(payload)))
	binary.LittleEndian.PutUint32(h[16:], group)
	h[20] = byte(k)
	for len(b)-start < frameSize(len(payload)) {
		b = append(b, 0)
	}
	return b
}

// stamp makes a frame one of a batch of a segment.
func stamp(frame []byte, s seed, batch uint32) {
	binary.LittleEndian.PutUint32(frame[12:], batch)
	binary.LittleEndian.PutUint32(frame, s.sum(frame[4:frameHeader]))
}

// decodeHeader decodes the header of the frame with which b begins. The payload has its
// length, as far as there are bytes for it, and is not checked.
func decodeHeader(s seed, b []byte) (frame, error) {
	if len(b) < frameHeader {
		return frame{}, errFrame
	}
	length := binary.LittleEndian.Uint32(b[8:])
	k := kind(b[20])
	if k < kindEntry || k > kindSeal || b[21]|b[22]|b[23] != 0 || length > maxPayload ||
		binary.LittleEndian.Uint32(b) != s.sum(b[4:frameHeader]) {
		return frame{}, errFrame
	}
	end := min(len(b), frameHeader+int(length))
	return frame{
		kind: k, group: binary.LittleEndian.Uint32(b[16:]), batch: binary.LittleEndian.Uint32(b[12:]),
		payload: b[frameHeader:end:end],
	}, nil
}

// decodeFrame decodes the frame with which b begins.
func decodeFrame(s seed, b []byte) (frame, error) {
	f, err := decodeHeader(s, b)
	if err != nil {
		return f, err
	}
	if len(f.payload) < int(binary.LittleEndian.Uint32(b[8:])) || len(b) < f.size() ||
		crc32.Checksum(f.payload, castagnoli) != binary.LittleEndian.Uint32(b[4:]) {
		return f, errFrame
	}
	for _, pad := range b[frameHeader+len(f.payload) : f.size()] {
		if pad != 0 {
			return f, errFrame
		}
	}
	return f, nil
}
