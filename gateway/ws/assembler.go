package ws

import "slices"

// An assembler assembles messages from the bytes that a client sends. It holds
// memory only while a message is incomplete.
type assembler struct {
	limit     int  // of a message, in bytes
	fragments bool // a message may have several frames

	bytes   *[]byte // received bytes that were not handled, nil for none; a pooled buffer
	message *[]byte // the first fragments of an incomplete message, nil for none
	opcode  byte    // of that message
}

// held returns how many bytes of memory the assembler holds.
func (a *assembler) held() (n int64) {
	if a.bytes != nil {
		n = int64(cap(*a.bytes))
	}
	if a.message != nil {
		n += int64(cap(*a.message))
	}
	return n
}

// unfinished reports whether a frame or message is incomplete.
func (a *assembler) unfinished() bool { return a.bytes != nil || a.message != nil }

// space returns free space to read into, at least one byte.
func (a *assembler) space() []byte {
	if a.bytes == nil {
		a.bytes = buffers.Get().(*[]byte)
	}
	b := *a.bytes
	if len(b) == cap(b) {
		*a.bytes = slices.Grow(b, cap(b))
	}
	return (*a.bytes)[len(b):cap(*a.bytes)]
}

// received notes that n bytes were read into what space returned.
func (a *assembler) received(n int) {
	*a.bytes = (*a.bytes)[:len(*a.bytes)+n]
	a.release()
}

// release gives back the buffer if it is empty.
func (a *assembler) release() {
	if a.bytes != nil && len(*a.bytes) == 0 {
		PutBuffer(a.bytes)
		a.bytes = nil
	}
}

// drain calls handle for each complete message and control frame, like Conn.Drain.
func (a *assembler) drain(handle func(opcode byte, payload []byte) (more bool)) error {
	if a.bytes == nil {
		return nil
	}
	b := *a.bytes
	more, err := true, error(nil)
	for more && err == nil {
		var n int
		if n, more, err = a.next(b, handle); n == 0 {
			break
		}
		b = b[n:]
	}
	*a.bytes = (*a.bytes)[:copy(*a.bytes, b)]
	a.release()
	return err
}

// next handles the first frame of b and returns its length; 0 if the frame is
// incomplete.
func (a *assembler) next(b []byte, handle func(byte, []byte) bool) (n int, more bool, err error) {
	h, header, err := parseHeader(b)
	if header == 0 || err != nil {
		return 0, false, err
	}
	control := h.opcode >= OpClose
	before := 0
	if a.message != nil {
		before = len(*a.message)
	}
	switch {
	case !control && (h.opcode == OpContinuation) != (a.message != nil):
		return 0, false, ErrBrokenFrame
	case !control && !a.fragments && !h.fin:
		return 0, false, ErrFragment
	case !control && h.size > uint64(max(a.limit-before, 0)):
		return 0, false, ErrTooLarge
	case h.size > uint64(len(b)-header):
		return 0, false, nil
	}
	n = header + int(h.size)
	payload := b[header:n]
	unmask(payload, h.mask)
	if control || h.fin && a.message == nil {
		return n, handle(h.opcode, payload), nil
	}
	if a.message == nil {
		a.message, a.opcode = buffers.Get().(*[]byte), h.opcode
	}
	*a.message = append(*a.message, payload...)
	if !h.fin {
		return n, handle(OpContinuation, nil), nil
	}
	more = handle(a.opcode, *a.message)
	PutBuffer(a.message)
	a.message = nil
	return n, more, nil
}
