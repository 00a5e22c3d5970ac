package placement

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"

	"github.com/belfry-im/belfry/raftstore/versions"
)

// formatVersion is the version of the JSON of commands, snapshots and maps, as package
// versions has it: a field that changes the meaning of others needs a new one. All nodes
// apply commands, so neither a new kind nor a new field may be proposed before all know it.
const formatVersion = 1

// Versions are those of the JSON that this binary reads.
var Versions = versions.Only(formatVersion)

// kinds are the names of commands in logs. A name must never get another meaning.
var kinds = map[string]reflect.Type{
	"init":          reflect.TypeFor[Init](),
	"join":          reflect.TypeFor[Join](),
	"admit":         reflect.TypeFor[Admit](),
	"maintain":      reflect.TypeFor[Maintain](),
	"removeNode":    reflect.TypeFor[RemoveNode](),
	"dropNode":      reflect.TypeFor[DropNode](),
	"replaceNode":   reflect.TypeFor[ReplaceNode](),
	"setConfig":     reflect.TypeFor[SetConfig](),
	"addReplica":    reflect.TypeFor[AddReplica](),
	"replicaMade":   reflect.TypeFor[ReplicaMade](),
	"leaveReplica":  reflect.TypeFor[LeaveReplica](),
	"removeReplica": reflect.TypeFor[RemoveReplica](),
	"prefer":        reflect.TypeFor[Prefer](),
}

// kindOf is kinds the other way round.
var kindOf = func() map[reflect.Type]string {
	names := make(map[reflect.Type]string, len(kinds))
	for name, t := range kinds {
		names[reflect.PointerTo(t)] = name
	}
	return names
}()

// envelope is a command as JSON: {"format":1,"kind":"admit","command":{"node":"…"}}.
type envelope struct {
	Format  int             `json:"format"`
	Kind    string          `json:"kind"`
	Command json.RawMessage `json:"command"`
}

// maxCommand bounds an encoded command, in bytes. The largest is an Init with all nodes and shards.
const maxCommand = 256 << 10

// EncodeCommand returns c as bytes for logs and other nodes.
func EncodeCommand(c Command) ([]byte, error) {
	body, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	return json.Marshal(envelope{Format: formatVersion, Kind: kindOf[reflect.TypeOf(c)], Command: body})
}

// DecodeCommand reads what EncodeCommand wrote.
func DecodeCommand(data []byte) (Command, error) {
	if len(data) > maxCommand {
		return nil, fmt.Errorf("placement: command: %d bytes are more than %d", len(data), maxCommand)
	}
	var e envelope
	if err := json.Unmarshal(data, &e); err != nil {
		return nil, fmt.Errorf("placement: command: %w", err)
	}
	if err := Versions.Check("command", e.Format); err != nil {
		return nil, fmt.Errorf("placement: %w", err)
	}
	t, known := kinds[e.Kind]
	if !known {
		return nil, fmt.Errorf("placement: command: kind %.40q is not known: this binary is older than its writer", e.Kind)
	}
	c := reflect.New(t).Interface().(Command)
	if err := strictly(e.Command, c); err != nil {
		return nil, fmt.Errorf("placement: command %s: %w", e.Kind, err)
	}
	return c, nil
}

// stored is a State, or a map alone, as JSON.
type stored struct {
	Format  int      `json:"format"`
	Map     *Map     `json:"map"`
	Retired *retired `json:"retired,omitempty"`
}

// Snapshot returns the state as bytes for Load.
func (s *State) Snapshot() ([]byte, error) {
	return json.Marshal(stored{Format: formatVersion, Map: s.published, Retired: &s.retired})
}

// Load reads what Snapshot wrote.
func Load(data []byte) (*State, error) {
	in, err := load(data, strictly)
	if err != nil {
		return nil, err
	}
	s := &State{published: in.Map}
	if in.Retired != nil {
		s.retired = *in.Retired
	}
	return s, nil
}

// EncodeMap returns m as bytes for other nodes and for DecodeMap.
func EncodeMap(m *Map) ([]byte, error) {
	return json.Marshal(stored{Format: formatVersion, Map: m})
}

// DecodeMap reads what EncodeMap wrote. What a newer node has added is skipped.
func DecodeMap(data []byte) (*Map, error) {
	in, err := load(data, json.Unmarshal)
	return in.Map, err
}

// strictly reads JSON that all nodes have to understand alike: unknown fields are errors.
func strictly(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("more than one value")
	}
	return nil
}

func load(data []byte, read func([]byte, any) error) (stored, error) {
	var in stored
	if err := read(data, &in); err != nil {
		return stored{}, fmt.Errorf("placement: map: %w", err)
	}
	if err := Versions.Check("map", in.Format); err != nil {
		return stored{}, fmt.Errorf("placement: %w", err)
	}
	if in.Map == nil {
		return stored{}, fmt.Errorf("placement: map: is missing")
	}
	if err := in.Map.check(); err != nil {
		return stored{}, fmt.Errorf("placement: map: %w", err)
	}
	return in, nil
}
