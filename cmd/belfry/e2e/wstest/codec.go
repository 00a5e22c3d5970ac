package wstest

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/vmihailenco/msgpack/v5"
)

// A Codec is one subprotocol with its encoding of frames.
type Codec struct {
	Subprotocol string
	Frame       websocket.MessageType
	Encode      func(Obj) ([]byte, error)
	Decode      func([]byte) (Obj, error)
}

// The subprotocols of docs/protocol.md.
var (
	JSON    = &Codec{"belfry.v1.json", websocket.MessageText, encodeJSON, DecodeJSON}
	Msgpack = &Codec{"belfry.v1.msgpack", websocket.MessageBinary, encodeMsgpack, decodeMsgpack}
	Codecs  = []*Codec{JSON, Msgpack}
)

// Name returns "json" or "msgpack".
func (c *Codec) Name() string { return strings.TrimPrefix(c.Subprotocol, "belfry.v1.") }

func (c *Codec) String() string { return c.Subprotocol }

func encodeJSON(o Obj) ([]byte, error) { return json.Marshal(binToJSON(o)) }

// binToJSON replaces []byte by {"$bin": base64}.
func binToJSON(v any) any {
	switch v := v.(type) {
	case []byte:
		return Obj{"$bin": base64.StdEncoding.EncodeToString(v)}
	case Obj:
		out := maps.Clone(v)
		for k, e := range out {
			out[k] = binToJSON(e)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = binToJSON(e)
		}
		return out
	}
	return v
}

// DecodeJSON decodes one frame, or another JSON object.
func DecodeJSON(b []byte) (Obj, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var o Obj
	if err := d.Decode(&o); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("more than one JSON value in %q", b)
	}
	v, err := plain(o)
	if err != nil {
		return nil, err
	}
	return v.(Obj), nil
}

func encodeMsgpack(o Obj) ([]byte, error) { return msgpack.Marshal(o) }

func decodeMsgpack(b []byte) (Obj, error) {
	r := bytes.NewReader(b)
	d := msgpack.NewDecoder(r)
	o, err := d.DecodeMap()
	if err != nil {
		return nil, err
	}
	if r.Len() > 0 {
		return nil, fmt.Errorf("%d bytes after the frame", r.Len())
	}
	v, err := plain(o)
	if err != nil {
		return nil, err
	}
	return v.(Obj), nil
}

// plain converts what either decoder returned to the types that Obj promises.
func plain(v any) (any, error) {
	var err error
	switch v := v.(type) {
	case map[string]any:
		if text, ok := v["$bin"].(string); ok && len(v) == 1 {
			return base64.StdEncoding.DecodeString(text)
		}
		for k, e := range v {
			if v[k], err = plain(e); err != nil {
				return nil, err
			}
		}
		return v, nil
	case []any:
		for i, e := range v {
			if v[i], err = plain(e); err != nil {
				return nil, err
			}
		}
		return v, nil
	case json.Number:
		if i, err := v.Int64(); err == nil {
			return i, nil
		}
		var u uint64
		if err := json.Unmarshal([]byte(v), &u); err == nil {
			return u, nil
		}
		return v.Float64()
	case int8:
		return int64(v), nil
	case int16:
		return int64(v), nil
	case int32:
		return int64(v), nil
	case uint8:
		return int64(v), nil
	case uint16:
		return int64(v), nil
	case uint32:
		return int64(v), nil
	case uint64:
		if v <= math.MaxInt64 {
			return int64(v), nil
		}
		return v, nil
	case float32:
		return float64(v), nil
	}
	return v, nil
}

// FrameOfSize returns a ping of size bytes, most of them in an arg that no op has.
func FrameOfSize(t testing.TB, c *Codec, id, size int) []byte {
	t.Helper()
	for fill := size - 100; ; {
		b, err := c.Encode(Obj{"id": id, "op": "ping", "args": Obj{"fill": strings.Repeat("x", fill)}})
		if err != nil {
			t.Fatal(err)
		}
		if len(b) == size {
			return b
		}
		fill += size - len(b)
	}
}
