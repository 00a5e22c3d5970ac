package protocol

import (
	"bytes"
	"encoding/json"
	"reflect"
)

// ObjectMembers returns the members of a JSON object by their exact names. A name
// that comes twice is an error. encoding/json would also accept Name for name, and
// take the last of two. The errors are meant for people.
func ObjectMembers(b []byte) (map[string]json.RawMessage, error) {
	const form = "must be one JSON object"
	d := json.NewDecoder(bytes.NewReader(b))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errObject(form)
	}
	members := make(map[string]json.RawMessage)
	for d.More() {
		t, err := d.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return nil, errObject(form)
		}
		if _, twice := members[name]; twice {
			return nil, errObject(name + ": stands there twice")
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, errObject(form)
		}
		members[name] = value
	}
	if _, err := d.Token(); err != nil || len(bytes.TrimSpace(b[d.InputOffset():])) > 0 {
		return nil, errObject(form)
	}
	return members, nil
}

type errObject string

func (e errObject) Error() string { return string(e) }

// ReadMember decodes a member into v and removes it from members. If there is
// none, or it is null, v stays as it is.
func ReadMember[T any](members map[string]json.RawMessage, name string, v *T) error {
	raw, ok := members[name]
	delete(members, name)
	if !ok {
		return nil
	}
	if err := json.Unmarshal(raw, v); err != nil {
		switch reflect.TypeFor[T]().Kind() {
		case reflect.Slice:
			return errObject(name + ": must be a list of text")
		case reflect.Int64:
			return errObject(name + ": must be written as an integer")
		case reflect.Bool:
			return errObject(name + ": must be true or false")
		}
		return errObject(name + ": must be text")
	}
	return nil
}
