// Package protocol is belfry.v1 as it stands on the wire: the frames that
// clients and the gateway exchange, in both encodings.
//
// A frame is one map. Both encodings carry the same maps with the same keys, so
// every payload is one struct, whose fields method names each field once for both
// encodings, to write it and to read it (see record). What has to be fast is
// written and read by hand: send, message, ack, readReport, and their replies. All
// of it lies on an encoder and a decoder that know JSON and msgpack.
//
// Ops and Pushes have a row for each operation and push, Enums and Codes all words
// that fields may have.
//
// The server reads with DecodeRequest and the Decode method of the op's args,
// and writes with the Append functions. The client writes with AppendRequest
// and reads with DecodeServerFrame and the Decode method of the payload. All
// writing appends to a buffer of the caller's; messages, pushes and the reply to
// send allocate nothing beyond its growth.
//
// # Bodies
//
// A body is kept as canonical msgpack: one value has one byte sequence,
// whatever encoding it came in, so equal bodies are equal bytes. Headers and
// integers have their shortest form, integers from 0 up are unsigned, floats
// are float64, map keys ascend bytewise and are unique.
//
// # Limits
//
// Input is data of strangers. Decoding reads each byte a bounded number of
// times, nests at most MaxDepth deep where it recurses, checks every count
// against the bytes that are left before it allocates, and allocates at most
// eight times the length of its input, plus a constant. Byte slices of what
// was decoded may lie in the input: who reuses the input copies them first.
//
// A null value of a key is as good as none, except for body. Of a key that
// comes twice in args the last counts; in a body that is an error.
package protocol

// Subprotocols of the WebSocket handshake.
const (
	SubprotocolJSON    = "belfry.v1.json"
	SubprotocolMsgpack = "belfry.v1.msgpack"
)

// Version is the number of the protocol that login answers with.
const Version = 1

// Codec is one of the two encodings of a frame. The zero Codec is JSON.
type Codec uint8

const (
	JSON Codec = iota
	Msgpack
)

// CodecFor returns the codec of a negotiated subprotocol; none means JSON.
func CodecFor(subprotocol string) (c Codec, ok bool) {
	switch subprotocol {
	case "", SubprotocolJSON:
		return JSON, true
	case SubprotocolMsgpack:
		return Msgpack, true
	}
	return JSON, false
}

// Name is "json" or "msgpack".
func (c Codec) Name() string {
	if c == Msgpack {
		return "msgpack"
	}
	return "json"
}

// Subprotocol is the codec's name in the WebSocket handshake.
func (c Codec) Subprotocol() string {
	if c == Msgpack {
		return SubprotocolMsgpack
	}
	return SubprotocolJSON
}

// Binary reports whether frames go in binary WebSocket messages, not in text.
func (c Codec) Binary() bool { return c == Msgpack }
