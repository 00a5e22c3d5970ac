package wstest

import (
	"maps"
	"testing"
)

// An Obj is a frame or a part of one. Decoded integers are int64 (uint64 above
// its range), other numbers float64, binary is []byte, arrays are []any, in
// both encodings alike, so that reflect.DeepEqual compares bodies.
type Obj = map[string]any

// Merged returns a new object with the fields of o and of more. A field of both has
// its value in more.
func Merged(o, more Obj) Obj {
	o = maps.Clone(o)
	if o == nil {
		o = Obj{}
	}
	maps.Copy(o, more)
	return o
}

// Num returns the integer that o has under key, and ends the test if there is none.
func Num(t testing.TB, o Obj, key string) int64 {
	t.Helper()
	n, ok := o[key].(int64)
	if !ok {
		t.Fatalf("%s = %v (%T) in %v, want an integer", key, o[key], o[key], o)
	}
	return n
}

// Str returns the text that o has under key, and ends the test if there is none.
func Str(t testing.TB, o Obj, key string) string {
	t.Helper()
	s, ok := o[key].(string)
	if !ok {
		t.Fatalf("%s = %v (%T) in %v, want a text", key, o[key], o[key], o)
	}
	return s
}
