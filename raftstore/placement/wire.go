package placement

import (
	"encoding/json"
	"fmt"
	"reflect"
)

// formatVersion is the version of the JSON of commands and snapshots. It rises when
// an older program would misread them; a program refuses versions that it does not
// know, so a field that changes the meaning of others needs a new one.
const formatVersion = 1

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
	if e.Format != formatVersion {
		return nil, fmt.Errorf("placement: command: format %d, this binary knows %d", e.Format, formatVersion)
	}
	t, known := kinds[e.Kind]
	if !known {
		return nil, fmt.Errorf("placement: command: kind %.40q is unknown to this binary", e.Kind)
	}
	c := reflect.New(t).Interface().(Command)
	if err := json.Unmarshal(e.Command, c); err != nil {
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
	in, err := load(data)
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

// DecodeMap reads what EncodeMap wrote.
func DecodeMap(data []byte) (*Map, error) {
	in, err := load(data)
	return in.Map, err
}

func load(data []byte) (stored, error) {
	var in stored
	if err := json.Unmarshal(data, &in); err != nil {
		return stored{}, fmt.Errorf("placement: map: %w", err)
	}
	switch {
	case in.Format != formatVersion:
		return stored{}, fmt.Errorf("placement: map: format %d, this binary knows %d", in.Format, formatVersion)
	case in.Map == nil:
		return stored{}, fmt.Errorf("placement: map: is missing")
	}
	if err := in.Map.check(); err != nil {
		return stored{}, fmt.Errorf("placement: map: %w", err)
	}
	return in, nil
}
