package protocol

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"testing"
	"unicode/utf16"

	"github.com/vmihailenco/msgpack/v5"
	"pgregory.net/rapid"
)

// bodyValues draws body values of at most depth levels.
func bodyValues(depth int) *rapid.Generator[any] {
	leaves := []*rapid.Generator[any]{
		rapid.Just[any](nil),
		rapid.Bool().AsAny(),
		rapid.Int64().AsAny(),
		rapid.SampledFrom([]any{int64(0), int64(-1), int64(127), int64(128), int64(255), int64(256), int64(-32), int64(-33),
			int64(-128), int64(-129), int64(math.MaxInt64), int64(math.MinInt64), uint64(maxBodyInt)}),
		rapid.Custom(func(t *rapid.T) any {
			f := rapid.Float64().Draw(t, "float")
			if math.IsNaN(f) || math.IsInf(f, 0) {
				return 0.5
			}
			return f
		}),
		rapid.SampledFrom([]any{0.0, math.Copysign(0, -1), 1.0, 1e21, 1e-7, math.MaxFloat64, math.SmallestNonzeroFloat64}),
		rapid.String().AsAny(),
		rapid.SliceOfN(rapid.Byte(), 0, 40).AsAny(),
	}
	if depth == 0 {
		return rapid.OneOf(leaves...)
	}
	return rapid.Custom(func(t *rapid.T) any {
		switch rapid.IntRange(0, 3).Draw(t, "shape") {
		case 0:
			return rapid.SliceOfN(bodyValues(depth-1), 0, 20).Draw(t, "array")
		case 1:
			m := rapid.MapOfN(rapid.String(), bodyValues(depth-1), 0, 20).Draw(t, "map")
			if len(m) == 1 {
				delete(m, binKey)
			}
			return m
		}
		return rapid.OneOf(leaves...).Draw(t, "leaf")
	})
}

// looseMsgpack appends v with heads of any length that fits and map keys in any order.
func looseMsgpack(t *rapid.T, b []byte, v any) []byte {
	// widen picks one of the heads that hold n; the last one holds any.
	widen := func(n uint64, heads ...[2]uint64) []byte {
		fitting := slices.DeleteFunc(slices.Clone(heads), func(h [2]uint64) bool { return h[1] != 8 && n >= 1<<(8*h[1]) })
		h := rapid.SampledFrom(fitting).Draw(t, "head")
		var full [8]byte
		binary.BigEndian.PutUint64(full[:], n)
		return append([]byte{byte(h[0])}, full[8-h[1]:]...)
	}
	switch v := v.(type) {
	case nil:
		return append(b, 0xc0)
	case bool:
		return append(b, 0xc2+b2u(v))
	case int64:
		if v < 0 {
			signed := [][2]uint64{{0xd3, 8}}
			if v >= math.MinInt32 {
				signed = append(signed, [2]uint64{0xd2, 4})
			}
			if v >= math.MinInt16 {
				signed = append(signed, [2]uint64{0xd1, 2})
			}
			if v >= math.MinInt8 {
				signed = append(signed, [2]uint64{0xd0, 1})
			}
			h := rapid.SampledFrom(signed).Draw(t, "head")
			var full [8]byte
			binary.BigEndian.PutUint64(full[:], uint64(v))
			return append(append(b, byte(h[0])), full[8-h[1]:]...)
		}
		if v <= math.MaxInt8 && rapid.Bool().Draw(t, "signed") {
			return append(b, 0xd0, byte(v))
		}
		return append(b, widen(uint64(v), [][2]uint64{{0xcc, 1}, {0xcd, 2}, {0xce, 4}, {0xcf, 8}, {0xd3, 8}}...)...)
	case uint64:
		return binary.BigEndian.AppendUint64(append(b, 0xcf), v)
	case float64:
		if float64(float32(v)) == v && rapid.Bool().Draw(t, "float32") {
			return binary.BigEndian.AppendUint32(append(b, 0xca), math.Float32bits(float32(v)))
		}
		return binary.BigEndian.AppendUint64(append(b, 0xcb), math.Float64bits(v))
	case string:
		b = append(b, widen(uint64(len(v)), [][2]uint64{{0xd9, 1}, {0xda, 2}, {0xdb, 4}}...)...)
		return append(b, v...)
	case []byte:
		b = append(b, widen(uint64(len(v)), [][2]uint64{{0xc4, 1}, {0xc5, 2}, {0xc6, 4}}...)...)
		return append(b, v...)
	case []any:
		b = append(b, widen(uint64(len(v)), [][2]uint64{{0xdc, 2}, {0xdd, 4}}...)...)
		for _, elem := range v {
			b = looseMsgpack(t, b, elem)
		}
		return b
	case map[string]any:
		b = append(b, widen(uint64(len(v)), [][2]uint64{{0xde, 2}, {0xdf, 4}}...)...)
		for _, k := range shuffledKeys(t, v) {
			b = looseMsgpack(t, b, k)
			b = looseMsgpack(t, b, v[k])
		}
		return b
	}
	panic(fmt.Sprintf("no body value: %T", v))
}

// looseJSON appends v with spaces anywhere, escapes of any kind and keys in any order.
func looseJSON(t *rapid.T, b []byte, v any) []byte {
	space := func() { b = append(b, rapid.SampledFrom([]string{"", "", " ", "\n\t", "\r "}).Draw(t, "space")...) }
	space()
	switch v := v.(type) {
	case nil:
		b = append(b, "null"...)
	case bool:
		b = strconv.AppendBool(b, v)
	case int64:
		b = strconv.AppendInt(b, v, 10)
	case uint64:
		b = strconv.AppendUint(b, v, 10)
	case float64:
		b = strconv.AppendFloat(b, v, 'e', -1, 64)
	case string:
		b = looseJSONText(t, b, v)
	case []byte:
		b = append(b, '{')
		space()
		b = looseJSONText(t, b, binKey)
		space()
		b = append(b, ':')
		space()
		b = looseJSONText(t, b, base64.StdEncoding.EncodeToString(v))
		space()
		b = append(b, '}')
	case []any:
		b = append(b, '[')
		space()
		for i, elem := range v {
			if i > 0 {
				b = append(b, ',')
			}
			b = looseJSON(t, b, elem)
		}
		b = append(b, ']')
	case map[string]any:
		b = append(b, '{')
		space()
		for i, k := range shuffledKeys(t, v) {
			if i > 0 {
				b = append(b, ',')
				space()
			}
			b = looseJSONText(t, b, k)
			space()
			b = append(b, ':')
			b = looseJSON(t, b, v[k])
		}
		b = append(b, '}')
	default:
		panic(fmt.Sprintf("no body value: %T", v))
	}
	space()
	return b
}

func looseJSONText(t *rapid.T, b []byte, s string) []byte {
	escapeAll := rapid.Bool().Draw(t, "escape")
	b = append(b, '"')
	for _, r := range s {
		switch {
		case !escapeAll && r >= ' ' && r != '"' && r != '\\':
			b = append(b, string(r)...)
		case r == '/':
			b = append(b, `\/`...)
		case r > 0xffff:
			hi, lo := utf16.EncodeRune(r)
			b = fmt.Appendf(b, `\u%04x\u%04X`, hi, lo)
		default:
			b = fmt.Appendf(b, `\u%04x`, r)
		}
	}
	return append(b, '"')
}

func shuffledKeys(t *rapid.T, m map[string]any) []string {
	return rapid.Permutation(slices.Sorted(maps.Keys(m))).Draw(t, "keys")
}

// msgpackOf is the msgpack of a JSON text, as the library that clients use
// writes it. Integers stay integers.
func msgpackOf(t testing.TB, text string) []byte {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("test has bad JSON %s: %v", text, err)
	}
	b, err := msgpack.Marshal(nativeNumbers(v))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func nativeNumbers(v any) any {
	switch v := v.(type) {
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		f, _ := v.Float64()
		return f
	case []any:
		for i := range v {
			v[i] = nativeNumbers(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = nativeNumbers(v[k])
		}
	}
	return v
}

// encoded is a JSON text in the encoding of codec.
func encoded(t testing.TB, codec Codec, text string) []byte {
	t.Helper()
	if codec == JSON {
		return []byte(text)
	}
	return msgpackOf(t, text)
}

var codecs = []Codec{JSON, Msgpack}
