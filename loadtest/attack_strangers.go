package loadtest

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"strings"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
)

const (
	// wholeFrame is the longest payload that a session may send in one frame.
	wholeFrame = 64 << 10
	// smallFrame is the size of a frame that the server takes before login from
	// every connection.
	smallFrame = 8 << 10
	// strangerWrite bounds how long a stranger tries to write its first bytes.
	strangerWrite = 2 * time.Second
)

// A stage is how far a stranger's connection gets before it sends what it holds.
type stage uint8

const (
	asWebSocket stage = iota
	asHTTP            // behind TLS, if the server has it
	asTCP
)

// strangerTurns are the unfinished things that strangers send and hold, by turns.
var strangerTurns = []turnKind{
	{name: "unfinished message and half a ping", more: sameBytes([]byte{'a'}),
		first: sameBytes(append(openFrame(false, opText, wholeFrame-512, wholeFrame-512), openFrame(true, opPing, 125, 60)...))},
	{name: "unfinished frame", more: sameBytes([]byte{'a'}), first: sameBytes(openFrame(true, opText, wholeFrame, wholeFrame-512))},
	{name: "unfinished small frame", more: sameBytes([]byte{'a'}), first: sameBytes(openFrame(true, opText, smallFrame, smallFrame-512))},
	{name: "fragments", more: sameBytes(openFrame(false, opContinuation, 1, 1)),
		first: sameBytes(append(openFrame(false, opText, 1, 1), bytes.Repeat(openFrame(false, opContinuation, 1, 1), 4000)...))},
	{name: "half a ping", first: sameBytes(openFrame(true, opPing, 125, 60))},
	{name: "half a request", stage: asHTTP, more: sameBytes([]byte{'a'}),
		first: sameBytes([]byte("GET /v1/ws HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("A: "+strings.Repeat("a", 1000)+"\r\n", 7) + "B: "))},
	{name: "half a handshake", stage: asTCP, more: sameBytes([]byte{'a'}), first: sameBytes(halfHandshake())},
	{name: "silence", stage: asTCP, first: sameBytes(nil)},
}

const opContinuation = 0x0

// openFrame returns the beginning of a frame: a header that announces size bytes,
// and some of these.
func openFrame(fin bool, opcode byte, size, some int) []byte {
	b := []byte{opcode}
	if fin {
		b[0] |= 0x80
	}
	switch {
	case size < 126:
		b = append(b, 0x80|byte(size))
	case size <= 0xffff:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(size))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(size))
	}
	b = append(b, 0, 0, 0, 0) // a mask that leaves all as it is
	return append(b, bytes.Repeat([]byte{'a'}, some)...)
}

// halfHandshake returns most of a TLS record that is nearly as long as one can
// be. In it is a ClientHello that would go on in further records.
func halfHandshake() []byte {
	const record, some = 16 << 10, 12 << 10
	b := []byte{22, 3, 1, record >> 8, record & 0xff, 1, 0, 0xff, 0xff, 3, 3}
	return append(b, bytes.Repeat([]byte{0}, some)...)
}

// raidStranger opens a connection up to the stage of its socket's turn, sends
// what the turn begins with and holds the connection.
func raidStranger(ctx context.Context, a *Attack, n int) error {
	t := &a.turns[n%len(a.turns)]
	i, err := a.intrude(ctx, n)
	if err != nil {
		return err
	}
	defer i.Close()
	switch t.stage {
	case asWebSocket:
		err = i.upgrade(ctx)
	case asHTTP:
		err = i.encrypt(ctx)
	}
	if err == nil {
		err = i.write(t.first(a), strangerWrite)
	}
	if err == nil {
		var drip []byte
		if t.more != nil {
			drip = t.more(a)
		}
		err = i.hold(drip)
	}
	return &turnError{t.name, err}
}

// A turnError is the end of a connection, with the name of what it did.
type turnError struct {
	name string
	err  error
}

func (e *turnError) Error() string { return e.name + ": " + e.err.Error() }
func (e *turnError) Unwrap() error { return e.err }

// raidSilent holds a connection that never becomes a WebSocket: every second
// socket sends not a byte, the others half a request.
func raidSilent(ctx context.Context, a *Attack, n int) error {
	i, err := a.intrude(ctx, n)
	if err != nil {
		return err
	}
	defer i.Close()
	var drip []byte
	if n%2 == 1 {
		drip = []byte{'a'}
		if err := i.write([]byte("GET /v1/ws HTTP/1.1\r\nA: "), strangerWrite); err != nil {
			return err
		}
	}
	return i.hold(drip)
}

// Sizes of badly signed tokens: one near the longest that fits into a frame, and
// the longest that every login may have.
const (
	longToken  = 56 << 10
	shortToken = 8000
)

var badTokens = [2][]byte{badLogin(longToken), badLogin(shortToken)}

// badLogin returns a login with a token of size bytes that is right in all but
// its signature.
func badLogin(size int) []byte {
	text := func(json string) string { return base64.RawURLEncoding.EncodeToString([]byte(json)) }
	header, signature := text(`{"alg":"HS256","typ":"JWT"}`), strings.Repeat("A", 43)
	claims := `{"sub":"mallory","exp":4000000000,"nonce":"`
	room := (size-len(header)-len(signature)-2)*3/4 - len(claims) - 2
	token := header + "." + text(claims+strings.Repeat("n", room)+`"}`) + "." + signature
	return appendFrame(nil, opText, func(b []byte) []byte {
		return protocol.AppendRequest(b, protocol.JSON, 1, protocol.OpLogin, &protocol.LoginArgs{Token: token, Device: "phone"})
	})
}

// raidToken logs in with a badly signed token.
func raidToken(ctx context.Context, a *Attack, n int) error {
	i, err := a.intrude(ctx, n)
	if err != nil {
		return err
	}
	defer i.Close()
	if err := i.upgrade(ctx); err != nil {
		return err
	}
	if err := i.write(badTokens[a.lastMade.Add(1)%2], attackPatience); err != nil {
		return err
	}
	return i.hold(nil)
}
