package raftstore

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
)

// Flags that differ from those of the last start make a newer configuration, and the same
// ones make none.
func TestFlagsMakeConfigurations(t *testing.T) {
	cfg := testConfig(t)
	epoch := uint64(0)
	for _, c := range []struct{ recents, hookBytes, version int }{{10, 0, 1}, {10, 0, 1}, {20, 0, 2}, {20, 1 << 10, 3}, {10, 0, 4}, {10, 0, 4}} {
		cfg.Limits.Recents = c.recents
		cfg.Hooks, cfg.HookBytes = nil, c.hookBytes
		if c.hookBytes > 0 {
			cfg.Hooks = new(hookLog)
		}
		s := open(t, cfg)
		for _, sh := range s.shards() {
			sh.here().local.Inspect(func(st *shard.State, _ int64) {
				got := command.Configure{Version: st.ConfigVersion(), Limits: command.Limits{Recents: st.Limits().Recents}, HookBytes: st.HookBytes()}
				want := command.Configure{Version: uint64(c.version), Limits: command.Limits{Recents: c.recents}, HookBytes: c.hookBytes}
				if got != want {
					t.Errorf("shard %d has %+v, want %+v", sh.id, got, want)
				}
				if epoch == 0 {
					epoch = st.Epoch()
				}
				if st.Epoch() != epoch || epoch < 1e12 {
					t.Errorf("shard %d has epoch %d, want %d, that of the first start", sh.id, st.Epoch(), epoch)
				}
			})
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(filepath.Join(cfg.Dir, "belfry.json"))
		if err != nil {
			t.Fatal(err)
		}
		var info dataInfo
		if err := json.Unmarshal(data, &info); err != nil || info.Configuration.Version != uint64(c.version) || info.Configuration.Epoch != epoch {
			t.Errorf("belfry.json has %+v (%v), want version %d and epoch %d", info.Configuration, err, c.version, epoch)
		}
	}
}
