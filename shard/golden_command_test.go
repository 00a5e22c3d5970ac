package shard

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/belfry-im/belfry/shard/command"
)

var updateGolden = flag.Bool("update", false, "write the golden files anew")

// allCommands returns a zero value of each command.
func allCommands() (commands []command.Command) {
	for k := range kinds {
		if cmd := newCommand(command.Kind(k)); cmd != nil {
			commands = append(commands, cmd)
		}
	}
	return commands
}

// A filler sets every field of a value to one that is not zero, that no other
// field has, and that decodes.
type filler struct{ n int }

func (f *filler) fill(v reflect.Value) {
	f.n++
	switch p := v.Addr().Interface().(type) {
	case *command.LetterKind:
		*p = command.LetterMessage
		return
	case *command.Letter:
		f.fillFields(v)
		p.By = "" // of letters that have no message
		return
	case *time.Duration:
		*p = time.Duration(f.n) * time.Hour
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(fmt.Sprintf("text%d", f.n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Uint8:
		v.SetUint(2)
	case reflect.Uint16:
		v.SetUint(uint64(1000 + f.n))
	case reflect.Uint32:
		v.SetUint(uint64(100_000 + f.n))
	case reflect.Uint64:
		v.SetUint(uint64(1<<40 + f.n))
	case reflect.Int:
		v.SetInt(int64(100_000 + f.n))
	case reflect.Int64:
		v.SetInt(storyTime + int64(f.n))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		f.fill(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			f.fill(v.Index(i))
		}
	case reflect.Array:
		for i := range v.Len() {
			f.n++
			v.Index(i).SetUint(uint64(f.n))
		}
	case reflect.Struct:
		f.fillFields(v)
	default:
		panic(fmt.Sprintf("no value for a %v", v.Type()))
	}
}

func (f *filler) fillFields(v reflect.Value) {
	for i := range v.NumField() {
		f.fill(v.Field(i))
	}
}

// filled returns each command with all its fields set.
func filled() (commands []command.Command) {
	for _, cmd := range allCommands() {
		new(filler).fill(reflect.ValueOf(cmd).Elem())
		commands = append(commands, cmd)
	}
	return commands
}

// filledLetters returns a letter of each kind, with all that one of its kind has.
func filledLetters() (letters []command.Letter) {
	for kind := command.LetterMessage; kind <= command.LetterLeft; kind++ {
		var l command.Letter
		new(filler).fill(reflect.ValueOf(&l).Elem())
		if l.Kind = kind; kind != command.LetterMessage {
			l = command.Letter{Kind: kind, From: l.From, To: l.To, Number: l.Number, Seq: l.Seq, Time: l.Time}
		}
		if kind >= command.LetterJoined {
			l.From = command.GroupID("team").Key()
		}
		if kind == command.LetterJoined {
			l.By = "zoe"
		}
		letters = append(letters, l)
	}
	return letters
}

// TestGoldenCommands compares the bytes of commands and letters with those that
// are in logs. If one is to change, its number or that of the batch has to.
func TestGoldenCommands(t *testing.T) {
	var got bytes.Buffer
	for _, cmd := range filled() {
		fmt.Fprintf(&got, "%T %x\n", cmd, command.AppendCommand(nil, cmd))
	}
	for _, l := range filledLetters() {
		fmt.Fprintf(&got, "letter-%d %x\n", l.Kind, command.AppendLetter(nil, &l))
	}
	const path = "testdata/commands.golden"
	if *updateGolden {
		if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	wants := make(map[string]string) // by name
	for line := range strings.Lines(string(want)) {
		name, encoded, _ := strings.Cut(line, " ")
		wants[name] = encoded
	}
	for line := range strings.Lines(got.String()) {
		name, encoded, _ := strings.Cut(line, " ")
		if encoded != wants[name] {
			t.Errorf("%s is encoded as %swant %s", name, encoded, wants[name])
		}
	}
}

// TestGoldenCommandsDecode reads what is in logs.
func TestGoldenCommandsDecode(t *testing.T) {
	golden, err := os.ReadFile("testdata/commands.golden")
	if err != nil {
		t.Fatal(err)
	}
	wants := make(map[string]any)
	for _, cmd := range filled() {
		wants[fmt.Sprintf("%T", cmd)] = cmd
	}
	for _, l := range filledLetters() {
		wants[fmt.Sprintf("letter-%d", l.Kind)] = l
	}
	for line := range bytes.Lines(golden) {
		name, text, _ := bytes.Cut(bytes.TrimSpace(line), []byte(" "))
		b, err := hex.DecodeString(string(text))
		if err != nil {
			t.Fatal(err)
		}
		want := wants[string(name)]
		if want == nil {
			t.Errorf("%s is known no more", name)
			continue
		}
		delete(wants, string(name))
		if l, ok := want.(command.Letter); ok {
			if got, err := command.DecodeLetter(b); err != nil || !reflect.DeepEqual(got, l) {
				t.Errorf("%s = %+v, %v, want %+v", name, got, err, l)
			}
			continue
		}
		if err := new(Checker).Check(b); err != nil {
			t.Errorf("Check of %s: %v", name, err)
		}
		n := 0
		batch := append(command.AppendBatchHeader(nil, 0), b...)
		err = command.NewSet(newCommand).WalkBatch(batch, func(int64) {}, func(_ command.Kind, cmd command.Command) {
			n++
			for _, field := range differences(cmd, want) {
				t.Errorf("%s: %s", name, field)
			}
		})
		if err != nil || n != 1 {
			t.Errorf("%s: %d commands, %v", name, n, err)
		}
	}
	for name := range wants {
		t.Errorf("%s is not in the file", name)
	}
}

// differences names the fields in which two commands of a type differ.
func differences(got, want any) (fields []string) {
	if reflect.TypeOf(got) != reflect.TypeOf(want) {
		return []string{fmt.Sprintf("a %T", got)}
	}
	g, w := reflect.ValueOf(got).Elem(), reflect.ValueOf(want).Elem()
	for i := range g.NumField() {
		if !reflect.DeepEqual(g.Field(i).Interface(), w.Field(i).Interface()) {
			fields = append(fields, fmt.Sprintf("%s = %+v, want %+v", g.Type().Field(i).Name, g.Field(i), w.Field(i)))
		}
	}
	return fields
}
