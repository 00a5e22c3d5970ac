package codec

import (
	"math"
	"reflect"
	"strings"
	"testing"
)

type name string

// every has a value of each form.
type every struct {
	Small    uint16
	Big      uint64
	Most     int
	Signed   int64
	Byte     uint8
	Enum     uint8
	Bool     bool
	Fixed    [3]byte
	Bytes    []byte
	Blob     []byte
	Text     name
	Texts    []string
	Uints    []uint64
	List     []part
	Optional *int64
	No       *bool
	Yes      *bool
}

type part struct{ A, B uint64 }

func (p *part) fields(x *Coder) {
	Uint(x, &p.A)
	Uint(x, &p.B)
}

func (e *every) fields(x *Coder) {
	Uint(x, &e.Small)
	Uint(x, &e.Big)
	UintMax(x, &e.Most, 1000)
	Int(x, &e.Signed)
	Byte(x, &e.Byte)
	Enum(x, &e.Enum, 1, 5)
	Bool(x, &e.Bool)
	Fixed(x, e.Fixed[:])
	Bytes(x, &e.Bytes, 10)
	Blob(x, &e.Blob, 10)
	Text(x, &e.Text, 10)
	Texts(x, &e.Texts, 3, 10)
	Uints(x, &e.Uints, 3)
	List(x, &e.List, 2, 3, (*part).fields)
	Optional(x, &e.Optional, Int[int64])
	OptionalBool(x, &e.No)
	OptionalBool(x, &e.Yes)
}

func full() every {
	return every{
		Small: math.MaxUint16, Big: math.MaxUint64, Most: 1000, Signed: math.MinInt64, Byte: 255, Enum: 5, Bool: true,
		Fixed: [3]byte{1, 2, 3}, Bytes: []byte("0123456789"), Blob: []byte{}, Text: "tënth",
		Texts: []string{"a", "", "b"}, Uints: []uint64{0, math.MaxUint64}, List: []part{{1, 2}, {3, 4}},
		Optional: new(int64(-5)), No: new(false), Yes: new(true),
	}
}

func write(e every) []byte {
	x := NewWriter([]byte("before"))
	e.fields(&x)
	return x.B[len("before"):]
}

func TestThereAndBack(t *testing.T) {
	for _, want := range []every{full(), {Enum: 1}} {
		b := write(want)
		got := full() // what was there before leaves no trace
		x := NewReader(b)
		got.fields(&x)
		if err := x.End(); err != nil {
			t.Fatal(err)
		}
		if want.Uints == nil {
			want.Uints = []uint64{} // read into what was there
		}
		if want.Bytes == nil {
			want.Bytes = []byte{}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("read %+v, want %+v", got, want)
		}
	}
}

func TestTruncated(t *testing.T) {
	b := write(full())
	for n := range b {
		var e every
		x := NewReader(b[:n])
		e.fields(&x)
		c := NewChecker(b[:n])
		e.fields(&c)
		if x.End() == nil || c.End() == nil {
			t.Errorf("%d of %d bytes: read %v, checked %v, want errors", n, len(b), x.Err, c.Err)
		}
	}
	x := NewReader(append(b, 0))
	e := full()
	if e.fields(&x); x.End() != ErrMalformed {
		t.Errorf("a byte too many: %v, want %v", x.Err, ErrMalformed)
	}
}

func TestLimits(t *testing.T) {
	for field, change := range map[string]func(*every){
		"Most":         func(e *every) { e.Most = 1001 },
		"negative":     func(e *every) { e.Most = -1 },
		"Enum too low": func(e *every) { e.Enum = 0 },
		"Enum":         func(e *every) { e.Enum = 6 },
		"Bytes":        func(e *every) { e.Bytes = make([]byte, 11) },
		"Blob":         func(e *every) { e.Blob = make([]byte, 11) },
		"Text":         func(e *every) { e.Text = name(strings.Repeat("x", 11)) },
		"UTF-8":        func(e *every) { e.Text = "\xff" },
		"Texts":        func(e *every) { e.Texts = make([]string, 4) },
		"Texts long":   func(e *every) { e.Texts[1] = strings.Repeat("x", 11) },
		"Uints":        func(e *every) { e.Uints = make([]uint64, 4) },
		"List":         func(e *every) { e.List = make([]part, 4) },
	} {
		e := full()
		change(&e)
		b := write(e)
		for mode, x := range map[string]Coder{"Reader": NewReader(b), "Checker": NewChecker(b)} {
			var got every
			if got.fields(&x); x.End() == nil {
				t.Errorf("%s: %s takes it", field, mode)
			}
		}
	}
	var small uint16
	x := NewReader(AppendUint(nil, 1<<16))
	if Uint(&x, &small); x.End() == nil {
		t.Errorf("65536 is read as a uint16: %d", small)
	}
	for i, b := range [][]byte{{3}, {2}} {
		x := NewReader(b)
		var v *bool
		var w bool
		if i == 0 {
			OptionalBool(&x, &v)
		} else {
			Bool(&x, &w)
		}
		if x.End() == nil {
			t.Errorf("byte %d is taken for a boolean", b[0])
		}
	}
}

// A later version's item has more fields, or is longer than one byte of length can say.
func TestItem(t *testing.T) {
	for _, size := range []int{0, 100, 126, 127, 128, 1 << 14, 1 << 15} {
		text := strings.Repeat("x", size)
		w := NewWriter([]byte("before"))
		Item(&w, func(x *Coder) { Text(x, &text, 1<<20); Text(x, &text, 1<<20) })
		after := uint64(7)
		Uint(&w, &after)
		for mode, x := range map[string]Coder{"Reader": NewReader(w.B[len("before"):]), "Checker": NewChecker(w.B[len("before"):])} {
			var got string
			var behind uint64
			Item(&x, func(x *Coder) { Text(x, &got, 1<<20) })
			if Uint(&x, &behind); x.End() != nil || behind != 7 || mode == "Reader" && got != text {
				t.Errorf("%s of %d bytes: %d bytes and %d behind them, %v", mode, size, len(got), behind, x.Err)
			}
		}
	}
	for name, b := range map[string][]byte{"beyond the input": {3, 1, 2}, "less than its fields": {1, 1, 2, 3}} {
		x := NewReader(b)
		var p part
		if Item(&x, func(x *Coder) { p.fields(x) }); x.Err == nil {
			t.Errorf("an item that has %s is read as %+v", name, p)
		}
	}
}

// TestCheckingAllocatesNothing checks twice: a list and what is optional are
// made once, to check into.
func TestCheckingAllocatesNothing(t *testing.T) {
	b := write(full())
	var e every
	var x Coder
	if n := testing.AllocsPerRun(100, func() {
		x = NewChecker(b)
		if e.fields(&x); x.End() != nil {
			t.Fatal(x.Err)
		}
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
	if e.Text != "" || e.Texts != nil {
		t.Errorf("checked %+v, want no text", e)
	}
}
