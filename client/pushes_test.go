package client

import (
	"reflect"
	"testing"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// TestEveryPushIsRead: no push of the protocol passes by a client that handles all
// there is to handle.
func TestEveryPushIsRead(t *testing.T) {
	c := new(Client)
	cfg := reflect.ValueOf(&c.cfg).Elem()
	for i := range cfg.NumField() {
		if f := cfg.Field(i); f.Kind() == reflect.Func && f.CanSet() {
			f.Set(reflect.MakeFunc(f.Type(), func([]reflect.Value) []reflect.Value { return nil }))
		}
	}
	s := &session{c: c}
	for _, p := range protocol.Pushes {
		f, err := protocol.DecodeServerFrame(protocol.JSON, []byte(`{"op":"`+p.Name+`","args":{}}`))
		if err != nil {
			t.Fatal(err)
		}
		if e, err := s.event(&f); err == nil && e.run == nil {
			t.Errorf("%s is not read", p.Name)
		}
	}
}
