package shard

import (
	"fmt"
	"runtime"
	"runtime/metrics"
	"testing"
	"unsafe"

	"github.com/belfry-im/belfry/shard/command"
)

// A load is a number of users in a circle, each with neighbours to both sides,
// and how often each sends to those on their right. A conversation is a view:
// each pair has two.
type load struct{ users, views, messages int } // messages stored in each view

func (l load) conversations() int { return l.users * l.views }
func (l load) entries() int       { return l.conversations() * l.messages }

func loadUser(i int) command.UserID { return command.UserID(fmt.Sprintf("user%07d", i)) }

// fill stores the load's messages, all within the dedupe window.
func (l load) fill(t testing.TB) *bench {
	b := newBench(t, command.Limits{UserBytes: -1, NewConversations: -1, OfflineMaxMessages: -1, OfflineMaxBytes: -1})
	b.now = 1_790_000_000_000
	body := make([]byte, 128)
	n := 0
	for range l.messages {
		for i := range l.users {
			data := command.AppendBatchHeader(nil, b.now)
			for k := range l.views / 2 {
				n++
				data = command.AppendCommand(data, &command.Send{
					User: loadUser(i), Session: 3, To: loadUser((i + k + 1) % l.users), CID: fmt.Sprintf("cid-%08d", n),
					ID: command.MsgID{1, 2, 3, 4, 5, 6, byte(n), byte(n >> 8), byte(n >> 16), byte(n >> 24)}, Body: body,
				})
			}
			b.s.Apply(data, &b.out)
		}
	}
	return b
}

// heap is what the heap holds now, in bytes and objects, the state included.
func heap() (bytes, objects uint64) {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc, m.HeapObjects
}

// gcSeconds is the CPU that the garbage collector has taken so far.
func gcSeconds() float64 {
	sample := []metrics.Sample{{Name: "/cpu/classes/gc/total:cpu-seconds"}}
	metrics.Read(sample)
	return sample[0].Value.Float64()
}

// BenchmarkMemory stores a million messages of 128 bytes, each in two views,
// and reports what one stored entry and one view take, everything counted:
// logs, users, dedupe records, all in their window, and what is left over.
// It takes 1 GiB and some seconds: use -benchtime 1x.
func BenchmarkMemory(b *testing.B) {
	for name, l := range map[string]load{
		"conversations=1000000/each=1": {users: 50_000, views: 20, messages: 1},
		"conversations=10000/each=100": {users: 500, views: 20, messages: 100},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				bytes, objects := heap()
				state := l.fill(b).s
				bytesAfter, objectsAfter := heap()
				taken := float64(bytesAfter - bytes)
				b.ReportMetric(taken/float64(l.entries()), "bytes/message")
				b.ReportMetric(taken/float64(l.conversations()), "bytes/conversation")
				b.ReportMetric(float64(objectsAfter-objects)/float64(l.conversations()), "objects/conversation")
				b.ReportMetric(float64(state.Size())/float64(l.conversations()), "counted/conversation")
				before := gcSeconds()
				runtime.GC()
				b.ReportMetric((gcSeconds()-before)*1000, "gc-cpu-ms")
				size := state.Size()
				state.Apply(command.AppendCommand(command.AppendBatchHeader(nil, state.Now()+300_000), &command.PurgeExpired{LastSlot: command.Slots - 1}), &Outcome{})
				b.ReportMetric(float64(size-state.Size())/float64(l.entries()/2), "dedupe-bytes/send")
			}
		})
	}
}

// TestMemory holds the bars of BenchmarkMemory in a smaller form.
func TestMemory(t *testing.T) {
	if got := unsafe.Sizeof(conv{}); got > 128 {
		t.Errorf("a conv takes %d bytes, want at most 128", got)
	}
	for _, test := range []struct {
		name string
		load load
		most float64 // bytes a message
	}{
		{"20,000 conversations of one message", load{users: 1000, views: 20, messages: 1}, 460},
		{"2,000 conversations of 100 messages", load{users: 100, views: 20, messages: 100}, 128 + 90},
	} {
		t.Run(test.name, func(t *testing.T) {
			bytes, _ := heap()
			s := test.load.fill(t).s
			after, _ := heap()
			const fixed = command.Slots*(8+48) + 1<<20 // slots, and the block of the arena that has just begun
			taken := float64(after-bytes) - fixed
			t.Logf("%.0f bytes a message", taken/float64(test.load.entries()))
			if got := taken / float64(test.load.entries()); got > test.most {
				t.Errorf("%.0f bytes a message, want at most %.0f", got, test.most)
			}
			if size := float64(s.Size()); size < taken*0.85 || size > float64(after-bytes) {
				t.Errorf("Size() = %.0f, want about what is taken: %.0f", size, taken)
			}
			runtime.KeepAlive(s)
		})
	}
}

// TestMemoryAfterRaisedCutoff takes all messages when their dedupe windows are over:
// what says that they are lost is counted as well, and costs no object.
func TestMemoryAfterRaisedCutoff(t *testing.T) {
	l := load{users: 1000, views: 20, messages: 1}
	before, _ := heap()
	s := l.fill(t).s
	s.Apply(command.AppendCommand(command.AppendBatchHeader(nil, s.Now()+300_000), &command.PurgeExpired{LastSlot: command.Slots - 1}), &Outcome{})
	full, objectsFull := heap()
	size, reserved := s.Size(), s.arena.Stats().Blocks
	s.Apply(command.AppendCommand(command.AppendBatchHeader(nil, s.Now()), &command.RaiseCutoff{Cutoff: s.Now(), MaxWork: 1 << 30}), &Outcome{})
	after, objects := heap()
	views := float64(l.conversations())
	t.Logf("a view: %.0f bytes, %.0f without its message", float64(size)/views, float64(s.Size())/views)
	if s.byAge.total != 0 || s.Size() >= size {
		t.Errorf("%d bytes of messages left, Size() = %d, was %d", s.byAge.total, s.Size(), size)
	}
	beside := int(after-before) - s.arena.Stats().Blocks
	if grown := beside - (int(full-before) - reserved); grown > l.conversations() {
		t.Errorf("beside the arena the heap has grown by %d bytes, want no more than by %d", grown, l.conversations())
	}
	if got := float64(int(objects)-int(objectsFull)) / views; got > 0.1 {
		t.Errorf("%.2f objects more for each view, want at most 0.1", got)
	}
	runtime.KeepAlive(s)
}
