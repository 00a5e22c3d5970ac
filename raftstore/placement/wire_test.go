package placement

import (
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/belfry-im/belfry/shard/command"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestGoldenCommands shows a change of what logs contain that nobody meant.
func TestGoldenCommands(t *testing.T) {
	limits := command.Limits{}.WithDefaults()
	commands := []Command{
		&Init{Cluster: "c1", Epoch: 9, Limits: limits, HookBytes: 5, Nodes: []Join{store("n1")}, Shards: [][]NewReplica{{{SoloReplica, "n1"}}}, Made: true},
		new(store("n2")), &Admit{Node: "n2"}, &Maintain{Node: "n2", On: true}, &RemoveNode{Node: "n2", Fewer: true},
		&ReplaceNode{Old: "n2", New: "n3"},
		&SetConfig{Expect: 1, Limits: command.Limits{OfflineTTL: time.Hour}, HookBytes: 6},
		&AddReplica{Shard: 1, NewReplica: NewReplica{"r1", "n1"}}, &ReplicaMade{Shard: 1, ID: "r1"},
		&LeaveReplica{Shard: 1, ID: "r1"}, &RemoveReplica{Shard: 1, ID: "r1"}, &Prefer{Shard: 1, ID: "r1"},
		&DropNode{Node: "n2"},
	}
	seen := map[string]bool{}
	var text strings.Builder
	for _, c := range commands {
		data, err := EncodeCommand(c)
		if err != nil {
			t.Fatal(err)
		}
		seen[kindOf[reflect.TypeOf(c)]] = true
		text.Write(data)
		text.WriteByte('\n')
	}
	for kind := range kinds {
		if !seen[kind] {
			t.Errorf("kind %s has no golden command", kind)
		}
	}
	golden := filepath.Join("testdata", "commands.json")
	if *update {
		if err := os.WriteFile(golden, []byte(text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if text.String() != string(want) {
		t.Errorf("commands are written as\n%s\nwant\n%s", text.String(), want)
	}
}

func TestDecodeCommandRefuses(t *testing.T) {
	for name, data := range map[string]string{
		"empty":          "",
		"other format":   `{"format":2,"kind":"admit","command":{}}`,
		"unknown kind":   `{"format":1,"kind":"explode","command":{}}`,
		"wrong type":     `{"format":1,"kind":"admit","command":{"node":7}}`,
		"no command":     `{"format":1,"kind":"admit"}`,
		"unknown field":  `{"format":1,"kind":"admit","command":{"node":"n1","later":1}}`,
		"unknown role":   `{"format":1,"kind":"join","command":{"roles":"voter"}}`,
		"too large":      `{"format":1,"kind":"admit","command":{"node":"` + strings.Repeat("x", maxCommand) + `"}}`,
		"trailing bytes": `{"format":1,"kind":"admit","command":{"node":"x"}} {}`,
	} {
		if c, err := DecodeCommand([]byte(data)); err == nil {
			t.Errorf("%s: DecodeCommand = %+v, want an error", name, c)
		}
	}
}

func TestDecodeMapRefuses(t *testing.T) {
	good := `{"format":1,"map":{"version":3,"cluster":"c","epoch":1,"config":{},
		"nodes":[{"id":"n1","name":"a"},{"id":"n2","name":"b"}],
		"shards":[{"id":0,"replicas":[{"id":"r1","node":"n1","made":true}],"founders":["r1"]}],
		"slots":[{"first":0,"last":16383,"shard":0}]}}`
	if _, err := DecodeMap([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for old, bad := range map[string]string{
		`"format":1`:                       `"format":3`,
		`"epoch":1`:                        `"epoch":0`,
		`"id":"n2"`:                        `"id":"n1"`,
		`"name":"b"`:                       `"name":"a"`,
		`"node":"n1"`:                      `"node":"n3"`,
		`"made":true}],"founders":["r1"]`:  `"made":false}],"founders":["r2"]`,
		`"last":16383`:                     `"last":16382`,
		`"first":0`:                        `"first":1`,
		`"shard":0`:                        `"shard":1`,
		`"id":0`:                           `"id":64`,
		`"id":"n1","name":"a"`:             `"id":"n1","name":"a","leaving":true`,
		`[{"first":0`:                      `[{"first":0,"last":5,"shard":0},{"first":5`,
		`{"id":"r1","node":"n1"`:           `{"id":"r1","node":"n2"},{"id":"r1","node":"n1"`,
		`{"id":"r1","node":"n1",`:          `{"id":"r2","node":"n1"},{"id":"r1","node":"n1",`,
		`"nodes":[{"id":"n1","name":"a"},`: `"nodes":[{"id":"","name":"a"},`,
	} {
		text := strings.Replace(good, old, bad, 1)
		if text == good {
			t.Fatalf("%s is not in the map", old)
		}
		if _, err := DecodeMap([]byte(text)); err == nil {
			t.Errorf("with %s: DecodeMap = nil, want an error", bad)
		}
	}
}

// Nodes follow a map of the next version, and say who is older if they cannot. Whoever
// applies commands must not restore from one.
func TestMapOfNextVersion(t *testing.T) {
	b := newBench(t)
	b.cluster(3, 2)
	data, err := EncodeMap(b.s.Map())
	if err != nil {
		t.Fatal(err)
	}
	longer := []byte(strings.Replace(strings.Replace(string(data), `"map":{`, `"map":{"later":[1],`, 1), `{`, `{"more":{},`, 1))
	m, err := DecodeMap(longer)
	if err != nil || !reflect.DeepEqual(m, b.s.Map()) {
		t.Errorf("with more fields: %+v, %v", m, err)
	}
	if _, err := Load(longer); err == nil || !strings.Contains(err.Error(), "unknown field") {
		t.Errorf("loaded although it has fields that are not known: %v", err)
	}
	for text, want := range map[string]string{
		`{"format":2,"kind":"admit","command":{}}`:   "command of version 2: its writer is newer than this binary",
		`{"format":1,"kind":"explode","command":{}}`: `kind "explode" is not known: this binary is older than its writer`,
	} {
		if _, err := DecodeCommand([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

// FuzzDecode reads any bytes as a command, applies it, and as a snapshot. What is read
// must be written and read again as the same.
func FuzzDecode(f *testing.F) {
	golden, err := os.ReadFile(filepath.Join("testdata", "commands.json"))
	if err != nil {
		f.Fatal(err)
	}
	for line := range strings.Lines(string(golden)) {
		f.Add([]byte(line))
	}
	b := newBench(f)
	b.cluster(3, 2)
	b.plan()
	seed, err := b.s.Snapshot()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Fuzz(func(t *testing.T, data []byte) {
		if c, err := DecodeCommand(data); err == nil {
			s, err := Load(seed)
			if err != nil {
				t.Fatal(err)
			}
			s.Apply(s.Map().Version+1, c)
			if err := s.Map().check(); err != nil {
				t.Fatalf("after %s: %v", data, err)
			}
			NewState().Apply(1, c)
		}
		s, err := Load(data)
		if err != nil {
			return
		}
		Plan(s.Map(), func() string { return "x" })
		s.Map().Voters()
		once, err := s.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		again, err := Load(once)
		if err != nil {
			t.Fatalf("%s: %v", once, err)
		}
		if twice, err := again.Snapshot(); err != nil || string(twice) != string(once) {
			t.Fatalf("%s became %s (%v)", once, twice, err)
		}
	})
}
