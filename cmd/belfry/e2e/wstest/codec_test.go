package wstest

import (
	"reflect"
	"testing"
)

func TestCodecsAgree(t *testing.T) {
	frame := Obj{"op": "x", "args": Obj{
		"small": int64(-7), "large": int64(1) << 62, "huge": uint64(1) << 63, "half": 0.5, "yes": true, "none": nil,
		"text": "grüße ✓", "bin": []byte{0, 255}, "list": []any{int64(1), []any{}, Obj{"deep": []byte{1}}},
	}}
	for _, c := range Codecs {
		b, err := c.Encode(frame)
		if err != nil {
			t.Fatalf("%v: %v", c, err)
		}
		got, err := c.Decode(b)
		if err != nil || !reflect.DeepEqual(got, frame) {
			t.Errorf("%v: %v came back as %v, %v", c, frame, got, err)
		}
		if _, err := c.Decode(append(b, b...)); err == nil {
			t.Errorf("%v: two frames in one were taken", c)
		}
	}
}
