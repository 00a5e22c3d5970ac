package link

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/hashicorp/raft"
)

// A connection of kindRaft carries AppendEntries, one at a time, after the hello:
//
//	0  length of what follows, 4 bytes, big-endian, at most maxAppend
//	4  version of Raft's protocol, server ID and address of the leader; term; index and
//	   term of the entry before; commit index; entries
//
// and for each entry index, term, type (1 byte), when it was appended (Unix nanoseconds,
// 0 = not known), extensions, data. Numbers are varints, server ID and address words as
// in a control frame; extensions and data have their length before them. The answer is
// one reply, as in a control frame, with its length before it.
const (
	// maxAppend and maxEntries bound a request. Raft gathers up to 64 entries, most of
	// which have 1 MiB at most.
	maxAppend  = 1 << 30
	maxEntries = 1024
	// keptAppend bounds the buffer of a connection that is kept for the next request, and
	// what is made for one before its bytes are there.
	keptAppend = 1 << 20
)

// An entriesConn is a connection over which this replica sends entries.
type entriesConn struct {
	*stream
	in  *bufio.Reader
	out []byte
}

// sendEntries sends entries to a follower and returns what its replica says.
func (t *Transport) sendEntries(id raft.ServerID, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	c, err := t.entriesConn(id)
	if err != nil {
		return err
	}
	r, err := c.ask(args, t.link.config.RPC)
	if err != nil {
		c.Close()
		return err
	}
	t.mu.Lock()
	kept := len(t.idle[id]) < pooled && t.ctx.Err() == nil
	if kept {
		t.idle[id] = append(t.idle[id], c)
	}
	t.mu.Unlock()
	if !kept {
		c.Close()
	}
	if r.failed != "" {
		return errors.New(r.failed)
	}
	*resp = raft.AppendEntriesResponse{
		RPCHeader: r.header(), Term: r.term, LastLog: r.lastLog, Success: r.yes, NoRetryBackoff: r.noWait,
	}
	return nil
}

// entriesConn returns a connection that is not in use, or makes one.
func (t *Transport) entriesConn(id raft.ServerID) (*entriesConn, error) {
	t.mu.Lock()
	if idle := t.idle[id]; len(idle) > 0 {
		c := idle[len(idle)-1]
		t.idle[id] = idle[:len(idle)-1]
		t.mu.Unlock()
		return c, nil
	}
	t.mu.Unlock()
	s, err := t.dial(id, kindRaft, t.link.config.RPC)
	if err != nil {
		return nil, err
	}
	return &entriesConn{stream: s, in: bufio.NewReader(s)}, nil
}

// ask sends one request and waits for its answer.
func (c *entriesConn) ask(args *raft.AppendEntriesRequest, timeout time.Duration) (reply, error) {
	out, err := appendEntries(append(c.out[:0], 0, 0, 0, 0), args)
	if err != nil {
		return reply{}, err
	}
	if c.out = nil; cap(out) <= keptAppend {
		c.out = out
	}
	binary.BigEndian.PutUint32(out, uint32(len(out)-4))
	c.SetDeadline(time.Now().Add(timeout))
	if _, err := c.Write(out); err != nil {
		return reply{}, err
	}
	body, err := readBody(c.in, maxFrame)
	if err != nil {
		return reply{}, err
	}
	f := fields{b: body}
	r := f.reply()
	if f.err == nil && len(f.b) > 0 {
		f.fail()
	}
	return r, f.err
}

// serveEntries hands the requests of a connection to the replica, one after the other,
// until the connection or the transport ends. A request that the replica does not take is
// dropped when its leader has given up, who sends it anew: while a disk hangs, each of them
// would wait here with all of its entries.
func (t *Transport) serveEntries(s *stream, from string) {
	defer s.Close()
	in := bufio.NewReaderSize(s, 16<<10)
	answers := make(chan raft.RPCResponse, 1)
	late := time.NewTimer(t.link.config.RPC)
	defer late.Stop()
	var out []byte
	for {
		body, err := readBody(in, maxAppend)
		if err != nil {
			return
		}
		args, err := parseEntries(body)
		if err != nil {
			t.log.Error("entries of another node cannot be read", "node", from, "err", err)
			return
		}
		late.Reset(t.link.config.RPC)
		select {
		case t.rpcs <- raft.RPC{Command: args, RespChan: answers}:
			late.Stop()
		case <-late.C:
			return
		case <-t.ctx.Done():
			return
		}
		var r reply
		select {
		case a := <-answers:
			r = replyOf(a)
		case <-t.ctx.Done():
			return
		}
		out = appendReply(append(out[:0], 0, 0, 0, 0), r)
		binary.BigEndian.PutUint32(out, uint32(len(out)-4))
		if _, err := s.Write(out); err != nil {
			return
		}
	}
}

func replyOf(a raft.RPCResponse) reply {
	resp, ok := a.Response.(*raft.AppendEntriesResponse)
	switch {
	case a.Error != nil:
		return reply{failed: cut(a.Error.Error())}
	case !ok:
		return reply{failed: "the replica gave no answer to AppendEntries"}
	}
	r := replyWith(ask{}, resp.RPCHeader, resp.Term, resp.Success)
	r.lastLog, r.noWait = resp.LastLog, resp.NoRetryBackoff
	return r
}

// forward hands on the RPCs that come another way, until the transport ends.
func (t *Transport) forward() {
	for {
		select {
		case rpc := <-t.net.Consumer():
			select {
			case t.rpcs <- rpc:
			case <-t.ctx.Done():
				return
			}
		case <-t.ctx.Done():
			return
		}
	}
}

// readBody reads what has its length before it, at most limit bytes.
func readBody(r io.Reader, limit uint32) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > limit {
		return nil, fmt.Errorf("%w: length %d, at most %d", errFrame, n, limit)
	}
	body := make([]byte, min(n, keptAppend))
	for read := 0; ; {
		m, err := io.ReadFull(r, body[read:])
		if read += m; err != nil {
			return nil, err
		}
		if read == int(n) {
			return body, nil
		}
		body = append(body, make([]byte, min(int(n)-read, read))...)
	}
}

// appendEntries appends a request. It fails if that is larger than maxAppend.
func appendEntries(b []byte, a *raft.AppendEntriesRequest) ([]byte, error) {
	size := 0
	for _, e := range a.Entries {
		size += len(e.Data) + len(e.Extensions)
	}
	const room = 64 // at most, of the other fields of an entry
	if size += room*(len(a.Entries)+1) + 2*maxWord; size > maxAppend {
		return nil, fmt.Errorf("link: entries %d and on have %d bytes, at most %d", a.PrevLogEntry+1, size, maxAppend)
	}
	b = slices.Grow(b, size)
	b = binary.AppendUvarint(b, uint64(a.ProtocolVersion))
	b = appendWord(b, a.ID)
	b = appendWord(b, a.Addr)
	for _, n := range [...]uint64{a.Term, a.PrevLogEntry, a.PrevLogTerm, a.LeaderCommitIndex, uint64(len(a.Entries))} {
		b = binary.AppendUvarint(b, n)
	}
	for _, e := range a.Entries {
		b = binary.AppendUvarint(b, e.Index)
		b = binary.AppendUvarint(b, e.Term)
		b = append(b, byte(e.Type))
		at := int64(0)
		if !e.AppendedAt.IsZero() {
			at = e.AppendedAt.UnixNano()
		}
		b = binary.AppendVarint(b, at)
		for _, part := range [...][]byte{e.Extensions, e.Data} {
			b = append(binary.AppendUvarint(b, uint64(len(part))), part...)
		}
	}
	return b, nil
}

// parseEntries reads what appendEntries has appended. Entries alias b.
func parseEntries(b []byte) (*raft.AppendEntriesRequest, error) {
	f := fields{b: b}
	a := new(raft.AppendEntriesRequest)
	a.ProtocolVersion = raft.ProtocolVersion(f.number())
	a.ID, a.Addr = f.copied(), f.copied()
	a.Term, a.PrevLogEntry, a.PrevLogTerm, a.LeaderCommitIndex = f.number(), f.number(), f.number(), f.number()
	n := f.number()
	if n > maxEntries {
		f.fail()
		n = 0
	}
	entries := make([]raft.Log, n)
	a.Entries = make([]*raft.Log, n)
	for i := range entries {
		e := &entries[i]
		a.Entries[i] = e
		e.Index, e.Term, e.Type = f.number(), f.number(), raft.LogType(f.byte())
		if e.Type > raft.LogConfiguration { // Raft would panic
			f.fail()
		}
		if at := f.signed(); at != 0 {
			e.AppendedAt = time.Unix(0, at)
		}
		e.Extensions, e.Data = f.part(), f.part()
	}
	if f.err == nil && len(f.b) > 0 {
		f.fail()
	}
	return a, f.err
}

func (f *fields) signed() int64 {
	v, n := binary.Varint(f.b)
	if n <= 0 {
		f.fail()
		return 0
	}
	f.b = f.b[n:]
	return v
}

// part returns bytes of any number, which alias the frame; nil if there are none.
func (f *fields) part() []byte {
	n := f.number()
	if n > uint64(len(f.b)) {
		f.fail()
	}
	if n == 0 || f.err != nil {
		return nil
	}
	v := f.b[:n:n]
	f.b = f.b[n:]
	return v
}
