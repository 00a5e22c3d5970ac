// Package protocol is belfry.v1 as it stands on the wire: the frames that
// clients and the gateway exchange, in both encodings.
//
// A frame is one map. Both encodings carry the same maps with the same keys, so
// every payload is one struct, whose fields method names each field once for both
// encodings, to write it and to read it (see record). What has to be fast is
// written and read by hand: send, message, ack, readReport, and their replies. All
// of it lies on an encoder and a decoder that know JSON and msgpack.
//
// Ops and Pushes list all operations and pushes; Enums and Codes list all words
// that fields may have.
//
// The server reads with DecodeRequest and the Decode method of the op's args, and
// writes with the Append functions. The client writes with AppendRequest and reads
// with DecodeServerFrame and the Decode method of the payload. All functions that
// write append to the caller's buffer. For messages, pushes and the reply to send
// they allocate nothing except to grow it.
//
// # Bodies
//
// A body is kept as canonical msgpack: a value has one form, whatever encoding it
// came in, and equal bodies have equal bytes. Headers and integers have their
// shortest form, integers from 0 up are unsigned, floats are float64, map keys
// ascend bytewise and are unique.
//
// # Limits
//
// Input may be hostile. Decoding reads each byte a bounded number of times, nests
// at most MaxDepth deep where it recurses, checks every count against the bytes
// that are left before it allocates, and allocates at most eight times the length
// of its input, plus a constant. Decoded byte slices may lie in the input: before
// the input is reused they have to be copied.
//
// A key whose value is null counts as absent, except for body. If a key comes
// twice in args, the last one counts; in a body it is an error.
package protocol

// Subprotocols in the WebSocket handshake.
const (
	SubprotocolJSON    = "belfry.v1.json"
	SubprotocolMsgpack = "belfry.v1.msgpack"
)

// Version is the version of the protocol, as in the answer to login.
const Version = 1

// A Codec is an encoding of frames. The zero Codec is JSON.
type Codec uint8

const (
	JSON Codec = iota
	Msgpack
)

// CodecFor returns the codec of a negotiated subprotocol; "" means JSON.
func CodecFor(subprotocol string) (c Codec, ok bool) {
	switch subprotocol {
	case "", SubprotocolJSON:
		return JSON, true
	case SubprotocolMsgpack:
		return Msgpack, true
	}
	return JSON, false
}

// Name returns "json" or "msgpack".
func (c Codec) Name() string {
	if c == Msgpack {
		return "msgpack"
	}
	return "json"
}

// Subprotocol returns the codec's name in the WebSocket handshake.
func (c Codec) Subprotocol() string {
	if c == Msgpack {
		return SubprotocolMsgpack
	}
	return SubprotocolJSON
}

// Binary reports whether frames are binary WebSocket messages, rather than text.
func (c Codec) Binary() bool { return c == Msgpack }
