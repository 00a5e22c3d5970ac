package placement

import (
	"encoding/json"
	"fmt"
	"reflect"
	"testing"

	"github.com/belfry-im/belfry/shard/command"
)

func TestSolo(t *testing.T) {
	for _, shards := range []int{1, 2, 3, 7, 64} {
		t.Run(fmt.Sprint(shards), func(t *testing.T) {
			node := Node{ID: "n1", Name: "a", Roles: RoleGateway | RoleStore, Admitted: true}
			m := Solo(node, 7, Config{Version: 3, HookBytes: 1 << 20}, shards)
			if len(m.Shards) != shards || m.Epoch != 7 || m.Config.Version != 3 {
				t.Fatalf("Solo = %d shards, epoch %d, config %d", len(m.Shards), m.Epoch, m.Config.Version)
			}
			last := uint32(0)
			for slot := range uint16(command.Slots) {
				r := m.Owner(slot)
				if slot < r.First || slot > r.Last || r.Shard < last || r.Shard != uint32(int(slot)*shards/command.Slots) {
					t.Fatalf("Owner(%d) = %+v after shard %d", slot, *r, last)
				}
				last = r.Shard
			}
			for id := range uint32(shards) {
				if r := m.Shard(id).On("n1"); r == nil || r.ID != SoloReplica || !r.Made {
					t.Errorf("replica of shard %d = %+v", id, r)
				}
			}
			if m.Shard(uint32(shards)) != nil || m.Shards[0].On("n2") != nil || m.Node("n2") != nil || m.NodeNamed("b") != nil {
				t.Error("found what is not there")
			}
			if m.Node("n1") == nil || m.NodeNamed("a") == nil || m.Shards[0].Replica(SoloReplica) == nil {
				t.Error("missed what is there")
			}
			text, err := json.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			var back Map
			if err := json.Unmarshal(text, &back); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(&back, m) {
				t.Errorf("read back: %+v, want %+v", back, *m)
			}
		})
	}
}

func TestParseRoles(t *testing.T) {
	for text, want := range map[string]Roles{
		"gateway": RoleGateway, "store": RoleStore, "store, gateway": RoleGateway | RoleStore,
	} {
		got, err := ParseRoles(text)
		if err != nil || got != want {
			t.Errorf("ParseRoles(%q) = %v, %v", text, got, err)
		}
		if again, err := ParseRoles(got.String()); err != nil || again != want {
			t.Errorf("ParseRoles(%q) = %v, %v", got, again, err)
		}
	}
	for _, text := range []string{"", "gateway,", "voter"} {
		if got, err := ParseRoles(text); err == nil {
			t.Errorf("ParseRoles(%q) = %v, want an error", text, got)
		}
	}
}
