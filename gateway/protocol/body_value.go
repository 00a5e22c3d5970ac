package protocol

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"unicode/utf8"
)

// EncodeBody returns v as a body. Nil, bool, integers, floats, string, []byte
// (as binary), []any and map[string]any are encoded directly, other values by
// way of encoding/json, which makes text of binary. The limit is 64 KiB; a
// server's limit is lower.
func EncodeBody(v any) ([]byte, error) {
	c := canonicalizers.Get().(*canonicalizer)
	defer c.free()
	c.out, c.entries, c.maxLen = c.out[:0], c.entries[:0], MaxFrame
	if err := c.value(v, 0); err != nil {
		return nil, err
	}
	return slices.Clone(c.out), nil
}

func (c *canonicalizer) value(v any, depth int) error {
	switch v := v.(type) {
	case nil:
		c.out = append(c.out, 0xc0)
	case bool:
		c.out = append(c.out, 0xc2+b2u(v))
	case int:
		c.int(int64(v))
	case int8:
		c.int(int64(v))
	case int16:
		c.int(int64(v))
	case int32:
		c.int(int64(v))
	case int64:
		c.int(v)
	case uint:
		return c.uint(uint64(v))
	case uint8:
		return c.uint(uint64(v))
	case uint16:
		return c.uint(uint64(v))
	case uint32:
		return c.uint(uint64(v))
	case uint64:
		return c.uint(v)
	case float32:
		return c.float(float64(v))
	case float64:
		return c.float(v)
	case string:
		return c.text(v)
	case []byte:
		c.out = append(appendBinHeader(c.out, len(v)), v...)
	case []any:
		if depth == MaxDepth {
			return errBodyDepth
		}
		c.out = appendArrayHeader(c.out, len(v))
		for _, elem := range v {
			if err := c.value(elem, depth+1); err != nil {
				return err
			}
		}
	case map[string]any:
		return c.mapValue(v, depth)
	default:
		text, err := json.Marshal(v)
		if err != nil {
			return &FieldError{CodeBadRequest, "body", "must have values that encoding/json takes: " + err.Error()}
		}
		end, bodyErr := c.json(text, skipSpace(text, 0), depth)
		if bodyErr != nil {
			return bodyErr
		}
		if skipSpace(text, end) != len(text) {
			return errBodyGrammar
		}
	}
	if err := c.checkSize(); err != nil {
		return err
	}
	return nil
}

func (c *canonicalizer) mapValue(v map[string]any, depth int) error {
	if depth == MaxDepth {
		return errBodyDepth
	}
	if _, ok := v[binKey]; ok && len(v) == 1 {
		return errBodyBinMap
	}
	keys := make([]string, 0, len(v))
	for k := range v {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	c.out = appendMapHeader(c.out, len(keys))
	for _, k := range keys {
		if err := c.text(k); err != nil {
			return err
		}
		if err := c.value(v[k], depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (c *canonicalizer) int(v int64) {
	if v < 0 {
		c.out = appendNegative(c.out, v)
	} else {
		c.out = appendUint(c.out, uint64(v))
	}
}

func (c *canonicalizer) uint(v uint64) error {
	if v > maxBodyInt {
		return errBodyInt
	}
	c.out = appendUint(c.out, v)
	return nil
}

func (c *canonicalizer) float(v float64) error {
	bits := math.Float64bits(v)
	if !isFinite(bits) {
		return errBodyFloat
	}
	c.out = appendFloat(c.out, bits)
	return nil
}

func (c *canonicalizer) text(s string) error {
	if !utf8.ValidString(s) {
		return errBodyText
	}
	c.out = append(appendStrHeader(c.out, len(s)), s...)
	if err := c.checkSize(); err != nil {
		return err
	}
	return nil
}

// BodyValue returns a canonical body as Go values: nil, bool, int64, uint64
// (2^63 alone), float64, string, []byte, []any and map[string]any. They share
// no memory with body.
func BodyValue(body []byte) (any, error) {
	if canonicalEnd(body, 0, 0) != len(body) {
		return nil, errBodyGrammar
	}
	v, _ := bodyValue(body, 0)
	return v, nil
}

// DecodeBody stores a canonical body in what v points to, as json.Unmarshal
// would store the same JSON. Binary can be stored in a []byte.
func DecodeBody(body []byte, v any) error {
	if canonicalEnd(body, 0, 0) != len(body) {
		return errBodyGrammar
	}
	w := bodyWriter{body: body, plainBin: true}
	if err := json.Unmarshal(w.value(nil, 0), v); err != nil {
		return fmt.Errorf("protocol: body: %w", err)
	}
	return nil
}

// bodyValue returns the value at b[i] of a canonical body, and the offset
// behind it.
func bodyValue(b []byte, i int) (v any, next int) {
	h, next := readHead(b, i)
	switch h.kind {
	case kindBool:
		return h.bits == 1, next
	case kindInt:
		if h.bits == maxBodyInt {
			return h.bits, next
		}
		return int64(h.bits), next
	case kindNegative:
		return int64(h.bits), next
	case kindFloat:
		return math.Float64frombits(h.bits), next
	case kindText:
		return string(b[next : next+h.n]), next + h.n
	case kindBin:
		return slices.Clone(b[next : next+h.n : next+h.n]), next + h.n
	case kindArray:
		vs := make([]any, h.n)
		for n := range vs {
			vs[n], next = bodyValue(b, next)
		}
		return vs, next
	case kindMap:
		m := make(map[string]any, h.n)
		for range h.n {
			var k any
			k, next = bodyValue(b, next)
			m[k.(string)], next = bodyValue(b, next)
		}
		return m, next
	}
	return nil, next
}
