package query

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"testing"

	"github.com/belfry-im/belfry/shard/codec"
	"github.com/belfry-im/belfry/shard/command"
)

// fill gives every field below v a value that is neither zero nor that of another
// field. Lists get two elements.
func fill(v reflect.Value, n *int) {
	*n++
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(v.Field(i), n)
			}
		}
		if b, ok := v.Addr().Interface().(*Updates); ok {
			b.Items = nil
			for i := range b.Messages {
				b.Items = append(b.Items, Item{Message: i, Change: -1, Event: -1}, Item{Message: -1, Change: i, Event: -1}, Item{Message: -1, Change: -1, Event: i})
			}
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fill(v.Index(i), n)
		}
	case reflect.Array:
		for i := range v.Len() {
			fill(v.Index(i), n)
		}
	case reflect.String:
		v.SetString(fmt.Sprint("text ", *n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Uint8:
		v.SetUint(uint64(*n%250) + 1)
	case reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(*n))
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(*n))
	default:
		panic(v.Type())
	}
}

// differ returns the path of the first field in which two values differ.
func differ(path string, a, b reflect.Value) string {
	switch a.Kind() {
	case reflect.Pointer:
		return differ(path, a.Elem(), b.Elem())
	case reflect.Struct:
		for i := range a.NumField() {
			f := a.Type().Field(i)
			if !f.IsExported() {
				continue
			}
			if d := differ(path+"."+f.Name, a.Field(i), b.Field(i)); d != "" {
				return d
			}
		}
		return ""
	case reflect.Slice:
		if a.Len() != b.Len() {
			return fmt.Sprintf("%s (%d elements, %d)", path, a.Len(), b.Len())
		}
		for i := range a.Len() {
			if d := differ(fmt.Sprintf("%s[%d]", path, i), a.Index(i), b.Index(i)); d != "" {
				return d
			}
		}
		return ""
	}
	if !reflect.DeepEqual(a.Interface(), b.Interface()) {
		return fmt.Sprintf("%s (%v, %v)", path, a, b)
	}
	return ""
}

// Every field of each query, and of all that its answer consists of, arrives; and what
// is asked does not come back with the answer.
func TestEveryFieldArrives(t *testing.T) {
	kind := 0
	for asked := range All {
		kind++
		t.Run(reflect.TypeOf(asked).Elem().Name(), func(t *testing.T) {
			n := 0
			fill(reflect.ValueOf(asked).Elem(), &n)
			question, answer := AppendQuery(nil, asked), AppendAnswer(nil, asked, nil)
			got, err := DecodeQuery(question)
			if err != nil {
				t.Fatal(err)
			}
			fresh := kinds[kind]()
			if !bytes.Equal(AppendAnswer(nil, got, nil), AppendAnswer(nil, fresh, nil)) {
				t.Error("the question has a part of the answer")
			}
			if err := DecodeAnswer(answer, fresh); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(AppendQuery(nil, fresh), AppendQuery(nil, kinds[kind]())) {
				t.Error("the answer has a part of the question")
			}
			if err := DecodeAnswer(answer, got); err != nil {
				t.Fatal(err)
			}
			if d := differ(reflect.TypeOf(asked).String(), reflect.ValueOf(asked), reflect.ValueOf(got)); d != "" {
				t.Errorf("left out: %s", d)
			}
			for i := range question {
				if _, err := DecodeQuery(question[:i]); err == nil {
					t.Fatalf("%d of %d bytes of a question are one", i, len(question))
				}
			}
			for i := range answer {
				if err := DecodeAnswer(answer[:i], fresh); err == nil {
					t.Fatalf("%d of %d bytes of an answer are one", i, len(answer))
				}
			}
		})
	}
}

func TestSyncArrives(t *testing.T) {
	var sync, got Sync
	n := 0
	fill(reflect.ValueOf(&sync).Elem(), &n)
	w := codec.NewWriter(nil)
	sync.Fields(&w)
	r := codec.NewReader(w.B)
	got.Fields(&r)
	if err := r.End(); err != nil {
		t.Fatal(err)
	}
	if d := differ("Sync", reflect.ValueOf(&sync), reflect.ValueOf(&got)); d != "" {
		t.Errorf("left out: %s", d)
	}
}

func TestRefusalArrives(t *testing.T) {
	want := command.RefusedError{Code: command.CodeForbidden, Detail: "conv: no", RetryAfterMS: 7}
	err := DecodeAnswer(AppendAnswer(nil, new(User), &want), new(User))
	if got, ok := errors.AsType[*command.RefusedError](err); !ok || *got != want {
		t.Errorf("refused with %v, want %v", err, &want)
	}
}

func FuzzDecodeQuery(f *testing.F) {
	for q := range All {
		f.Add(AppendQuery(nil, q))
		n := 0
		fill(reflect.ValueOf(q).Elem(), &n)
		f.Add(AppendQuery(nil, q))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		q, err := DecodeQuery(b)
		if err != nil {
			return
		}
		again, err := DecodeQuery(AppendQuery(nil, q))
		if err != nil || !reflect.DeepEqual(q, again) {
			t.Errorf("%+v came back as %+v, %v", q, again, err)
		}
	})
}

func FuzzDecodeAnswer(f *testing.F) {
	kind := byte(0)
	for q := range All {
		kind++
		f.Add(kind, AppendAnswer(nil, q, nil))
		n := 0
		fill(reflect.ValueOf(q).Elem(), &n)
		f.Add(kind, AppendAnswer(nil, q, nil))
	}
	f.Fuzz(func(t *testing.T, kind byte, b []byte) {
		if int(kind) >= len(kinds) || kinds[kind] == nil {
			return
		}
		q := kinds[kind]()
		if DecodeAnswer(b, q) != nil {
			return
		}
		again := kinds[kind]()
		if err := DecodeAnswer(AppendAnswer(nil, q, nil), again); err != nil || !reflect.DeepEqual(q, again) {
			t.Errorf("%+v came back as %+v, %v", q, again, err)
		}
	})
}
