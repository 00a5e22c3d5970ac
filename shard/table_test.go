package shard

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/cespare/xxhash/v2"
)

// A table is compared with a map, with hashes that collide often.
func TestTableIsAMap(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 7))
			spread := 1 + rnd.Uint64N(200)
			hash := func(v uint32) uint64 { return uint64(v) * 7 % spread }
			var table table
			model := map[uint32]bool{}
			for range 5000 {
				v := rnd.Uint32N(300)
				got, ok := table.find(hash(v), func(found uint32) bool { return found == v })
				if ok != model[v] || ok && got != v || table.n != len(model) {
					t.Fatalf("find(%d) = %d, %v of %d, want %v of %d", v, got, ok, table.n, model[v], len(model))
				}
				switch {
				case !ok && rnd.IntN(3) > 0:
					table.add(v, hash)
					model[v] = true
				default:
					table.remove(v, hash)
					delete(model, v)
				}
			}
			for v := range table.all {
				if !model[v] {
					t.Errorf("all yields %d, which was removed", v)
				}
			}
		})
	}
}

// Names that were chosen to share a place by the hash that anybody can compute
// are spread all the same.
func TestUsersCannotChooseTheirPlace(t *testing.T) {
	const names, places = 500, 1024
	s := NewState(1)
	taken := map[uint64]bool{}
	for n, chosen := 0, 0; chosen < names; n++ {
		name := command.UserID(fmt.Sprint("user", n))
		if xxhash.Sum64String(string(name))/command.Slots%places == 0 {
			chosen++
			taken[s.userHash(name)%places] = true
		}
	}
	if len(taken) < names/2 {
		t.Errorf("%d chosen names on %d places of %d, want about %d", names, len(taken), places, names*4/5)
	}
}

// A dedupe window is compared with a list, records that are sent again or have
// extraordinary times among them.
func TestDedupWindowIsAList(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 8))
			s := NewState(1)
			u := &user{name: "u"}
			var model []dedupRecord
			keys, keep := 1+rnd.Uint64N(2000), 1+rnd.Int64N(1000)
			now := int64(1_700_000_000_000)
			for range 5000 {
				now += rnd.Int64N(3)
				r := dedupRecord{key: rnd.Uint64N(keys), body: rnd.Uint64(), id: command.MsgID{byte(now)}, seq: rnd.Uint64N(1000), sentMS: now, time: now}
				if rnd.IntN(20) == 0 {
					r.seq, r.time = rnd.Uint64(), now+rnd.Int64N(1<<50)
				}
				s.addDedup(&u.dedup, &r)
				model = append(model, r)
				if rnd.IntN(3) == 0 {
					s.forgetDedup(u, &u.dedup, now-keep)
					for len(model) > 0 && model[0].sentMS <= now-keep {
						model = model[1:]
					}
				}
				if int(u.dedup.count) != len(model) || s.dedupRecords != len(model) {
					t.Fatalf("%d records, want %d", u.dedup.count, len(model))
				}
				key := rnd.Uint64N(keys)
				var got, want dedupRecord
				for _, r := range model {
					if r.key == key {
						want = r
					}
				}
				if found := s.findDedup(&u.dedup, key, &got); found != (want.sentMS != 0) || got != want {
					t.Fatalf("find(%d) = %+v, want %+v", key, got, want)
				}
			}
			i := 0
			var r dedupRecord
			for c := u.dedup.cursor(); c.next(s.arena, &r); i++ {
				if r != model[i] {
					t.Fatalf("record %d = %+v, want %+v", i, r, model[i])
				}
			}
			if i != len(model) {
				t.Errorf("%d records read, want %d", i, len(model))
			}
			s.forgetDedup(u, &u.dedup, now)
			if used := s.arena.Stats().Used; used != 0 || s.tableBytes != 0 {
				t.Errorf("%d bytes of the arena and %d of tables in use, want none", used, s.tableBytes)
			}
		})
	}
}
