package gateway

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/belfry-im/belfry/shard/command"
)

func TestWindowAcks(t *testing.T) {
	var w window
	push := func(size int, marks ...mark) {
		for _, m := range marks {
			w.addMark(m.peer, m.seq)
		}
		w.push(size, 0)
	}
	push(10, mark{peer: "a", seq: 1}, mark{peer: "b", seq: 7}, mark{peer: "a", seq: 2})
	push(20, mark{peer: "a", seq: 3})
	push(30)

	if _, ok := w.ack(4, true); ok {
		t.Error("ack(4) with 3 pushed = ok")
	}
	if read, ok := w.ack(0, true); !ok || read != nil {
		t.Errorf("ack(0) = %v, %v, want nothing", read, ok)
	}
	read, _ := w.ack(1, true)
	if want := []mark{{1, "a", 2}, {1, "b", 7}}; !reflect.DeepEqual(read, want) {
		t.Errorf("ack(1) = %v, want %v", read, want)
	}
	if read, ok := w.ack(1, true); !ok || read != nil {
		t.Errorf("second ack(1) = %v, %v, want nothing", read, ok)
	}
	if len(w.frames) != 2 || w.bytes != 50 {
		t.Errorf("after ack(1): %d frames of %d bytes, want 2 of 50", len(w.frames), w.bytes)
	}
	read, _ = w.ack(3, true)
	if want := []mark{{2, "a", 3}}; !reflect.DeepEqual(read, want) {
		t.Errorf("ack(3) = %v, want %v", read, want)
	}
	if len(w.frames) != 0 || w.bytes != 0 || w.last != 3 {
		t.Errorf("after ack(3): %d frames of %d bytes, last %d, want none, last 3", len(w.frames), w.bytes, w.last)
	}
}

// TestWindowAgainstModel compares random runs with a list of frames.
func TestWindowAgainstModel(t *testing.T) {
	type frame struct {
		size  int
		marks []mark
	}
	for seed := range uint64(50) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 0))
			var w window
			var model []frame // unacked
			acked := 0        // frames acked, so model[0] is frame acked+1
			for range 500 {
				if r.IntN(3) > 0 {
					f := frame{size: r.IntN(100)}
					for range r.IntN(4) {
						m := mark{d: w.nextDelivery(), peer: command.UserID(rune('a' + r.IntN(3))), seq: r.Uint64N(9)}
						w.addMark(m.peer, m.seq)
						f.marks = merge(f.marks, m)
					}
					w.push(f.size, 0)
					model = append(model, f)
				} else {
					d := r.IntN(acked + len(model) + 3)
					got, ok := w.ack(uint64(d), true)
					if want := d <= acked+len(model); ok != want {
						t.Fatalf("ack(%d) = %v, want %v", d, ok, want)
					}
					var want []mark
					for ok && acked < d {
						want = append(want, model[0].marks...)
						model = model[1:]
						acked++
					}
					if len(got) != len(want) || len(want) > 0 && !reflect.DeepEqual(got, want) {
						t.Fatalf("ack(%d) = %v, want %v", d, got, want)
					}
				}
				bytes := 0
				for _, f := range model {
					bytes += f.size
				}
				if len(w.frames) != len(model) || w.bytes != bytes {
					t.Fatalf("%d frames of %d bytes, want %d of %d", len(w.frames), w.bytes, len(model), bytes)
				}
			}
		})
	}
}

func merge(marks []mark, m mark) []mark {
	for i := range marks {
		if marks[i].peer == m.peer {
			marks[i].seq = max(marks[i].seq, m.seq)
			return marks
		}
	}
	return append(marks, m)
}
