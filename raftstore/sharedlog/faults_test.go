package sharedlog

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/hashicorp/raft"
)

func group(t testing.TB, l *Log, name string) *Group {
	t.Helper()
	g, err := l.Group(name, User{})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// entry returns one that can be told from all others.
func entry(name string, index uint64, size int) *raft.Log {
	return &raft.Log{Index: index, Term: index/3 + 1, Data: fmt.Appendf(nil, "%s %0*d", name, size, index)}
}

func appendTo(t testing.TB, g *Group, from, to uint64, size int) {
	t.Helper()
	for i := from; i <= to; i++ {
		must(t, g.StoreLog(entry(g.Name(), i, size)))
	}
}

// wantEntries checks that a group has just these entries, as appendTo stored them.
func wantEntries(t testing.TB, g *Group, from, to uint64, size int) {
	t.Helper()
	first, _ := g.FirstIndex()
	last, _ := g.LastIndex()
	if first != from || last != to {
		t.Fatalf("group %s has entries %d to %d, want %d to %d", g.Name(), first, last, from, to)
	}
	for i := from; i <= to && i > 0; i++ {
		var e raft.Log
		if err := g.GetLog(i, &e); err != nil || string(e.Data) != string(entry(g.Name(), i, size).Data) {
			t.Fatalf("group %s: entry %d is %q, %v", g.Name(), i, e.Data, err)
		}
	}
}

// TestTornWrites cuts the last write at every byte of its two frames. What was there
// before it stays, what it wrote as a whole may stay, and the log goes on.
func TestTornWrites(t *testing.T) {
	dir := t.TempDir()
	for _, recycled := range []bool{false, true} {
		fs := newMemFS()
		l := openOn(t, fs)
		g := group(t, l, "a")
		first, last := uint64(1), uint64(10)
		if recycled {
			last = 400
			for i := first; i <= last; i++ {
				must(t, g.StoreLog(entry("a", i, 50)))
				must(t, g.DeleteRange(first, max(i, 5)-5))
			}
			first = last - 4
		} else {
			appendTo(t, g, first, last, 50)
		}
		s := l.current()
		before := fs.image()[segmentName(s.number)]
		start := s.end
		must(t, g.StoreLogs([]*raft.Log{entry("a", last+1, 50), entry("a", last+2, 50)}))
		if l.current() != s {
			t.Fatal("the write went into another segment")
		}
		files := fs.image()
		whole := files[segmentName(s.number)]
		frame := (s.end - start) / 2
		must(t, l.Close())
		for name, spoil := range map[string]func(data []byte, cut int64){
			"not written": func(data []byte, cut int64) { copy(data[cut:], before[cut:]) },
			"garbage": func(data []byte, cut int64) {
				for i := cut; i < start+2*frame; i++ {
					data[i] ^= 0x5a
				}
			},
			"only the end": func(data []byte, cut int64) { copy(data[start:cut], before[start:cut]) },
		} {
			for cut := start; cut <= start+2*frame; cut++ {
				data := slices.Clone(whole)
				spoil(data, cut)
				files[segmentName(s.number)] = data
				kept := uint64(0)
				for at := start; at < s.end && slices.Equal(data[at:at+frame], whole[at:at+frame]); at += frame {
					kept++
				}
				disk := diskOf(files)
				for range 2 { // also what the first opening leaves
					l, err := Open(Config{Dir: dir, SegmentBytes: minSegmentBytes, FS: disk})
					if err != nil {
						t.Fatalf("%s, recycled %t, cut at %d of %d: %v", name, recycled, cut-start, 2*frame, err)
					}
					g := group(t, l, "a")
					if got, _ := g.LastIndex(); got != last+kept {
						t.Fatalf("%s, recycled %t, cut at %d of %d: %d entries, want %d", name, recycled, cut-start, 2*frame, got, last+kept)
					}
					wantEntries(t, g, first, last+kept, 50)
					appendTo(t, g, last+kept+1, last+kept+1, 50)
					kept++
					must(t, l.Close())
				}
			}
		}
	}
}

// rotted opens a log of which one byte is another one, and returns the error.
func rotted(dir string, files map[string][]byte, name string, at int) error {
	disk := diskOf(files)
	disk.names[name].data[at] ^= 0x10
	l, err := Open(Config{Dir: dir, SegmentBytes: minSegmentBytes, FS: disk})
	if err == nil {
		l.Close()
	}
	return err
}

// TestRot changes every byte of a log that was acknowledged before the last write.
func TestRot(t *testing.T) {
	dir := t.TempDir()
	fs := newMemFS()
	l := openOn(t, fs)
	a, b := group(t, l, "a"), group(t, l, "b")
	must(t, a.SetUint64([]byte("term"), 7))
	for i := uint64(1); l.current().number < 3; i++ {
		appendTo(t, a, i, i, 70)
		appendTo(t, b, i, i, 31)
	}
	last, _ := b.LastIndex()
	end := l.current().end
	appendTo(t, b, last+1, last+1, 31)
	must(t, l.Close())
	files := fs.image()
	ends := map[string]int64{metaName: metaBytes, segmentName(3): end}
	for _, number := range []uint32{1, 2} {
		disk := diskOf(files)
		l := openOn(t, disk)
		ends[segmentName(number)] = l.segment(number).end
		must(t, l.Close())
	}
	for name, end := range ends {
		for at := range int(end) {
			err := rotted(dir, files, name, at)
			bad, ok := errors.AsType[*CorruptError](err)
			if !ok || !strings.HasSuffix(bad.Segment, name) {
				t.Fatalf("%s with another byte at %d: Open = %v, want a CorruptError of it", name, at, err)
			}
			if name != metaName && at > segmentHeader && !(slices.Contains(bad.Groups, "a") || slices.Contains(bad.Groups, "b")) && !strings.Contains(bad.Error(), "no group") {
				t.Fatalf("%s with another byte at %d: %v, want the groups in it", name, at, err)
			}
			if bad.Offset > int64(at) {
				t.Fatalf("%s with another byte at %d: found at %d", name, at, bad.Offset)
			}
		}
	}
	for _, name := range []string{segmentName(1), segmentName(2), metaName} {
		less := fs.image()
		delete(less, name)
		if _, err := Open(Config{Dir: t.TempDir(), SegmentBytes: minSegmentBytes, FS: diskOf(less)}); err == nil {
			t.Errorf("the log opened without %s", name)
		}
	}
}

// TestRotWhileOpen changes every byte of an entry that is read.
func TestRotWhileOpen(t *testing.T) {
	fs := newMemFS()
	l := openOn(t, fs)
	g := group(t, l, "a")
	appendTo(t, g, 1, 5, 100)
	at, s, err := g.find(3)
	must(t, err)
	f, err := s.read(at.offset())
	must(t, err)
	for i := at.offset(); i < at.offset()+int64(f.size()); i++ {
		data := fs.names[segmentName(1)].data
		data[i] ^= 1
		var e raft.Log
		err := g.GetLog(3, &e)
		if bad, ok := errors.AsType[*CorruptError](err); !ok || bad.Offset != at.offset() || !slices.Equal(bad.Groups, []string{"a"}) {
			t.Fatalf("byte %d: GetLog = %v, want where it is corrupt", i-at.offset(), err)
		}
		data[i] ^= 1
	}
	wantEntries(t, g, 1, 5, 100)
}

// TestFailure fails a write or a sync: all that waits is refused, everybody is told once, and
// the node opens its log once more, however many groups come back.
func TestFailure(t *testing.T) {
	for name, plant := range map[string]func(*memFS){
		"write": func(fs *memFS) { fs.failWrite = 1 },
		"sync":  func(fs *memFS) { fs.failSync = 1 },
		"full":  func(fs *memFS) { fs.room = 2 * minSegmentBytes },
	} {
		t.Run(name, func(t *testing.T) {
			fs := newMemFS()
			n := NewNode(Config{Dir: t.TempDir(), SegmentBytes: minSegmentBytes, FS: fs})
			defer n.Close()
			const groups = 6
			told := make(chan string, 2*groups)
			acknowledged := make([]uint64, groups)
			for round := range 3 {
				var views []*Group
				var opening sync.WaitGroup
				var mu sync.Mutex
				for i := range groups {
					opening.Go(func() {
						name := fmt.Sprint("g", i)
						g, err := n.Group(name, User{Failed: func(error) { told <- name }})
						if err != nil {
							t.Error(err)
							return
						}
						last, _ := g.LastIndex()
						if last < acknowledged[i] {
							t.Errorf("%s ends with %d, want at least %d", name, last, acknowledged[i])
						}
						acknowledged[i] = last
						mu.Lock()
						defer mu.Unlock()
						views = append(views, g)
					})
				}
				opening.Wait()
				if n.Opened() != round+1 || len(views) != groups {
					t.Fatalf("opened %d times with %d groups, want %d and %d", n.Opened(), len(views), round+1, groups)
				}
				for _, g := range views {
					last, _ := g.LastIndex()
					wantEntries(t, g, min(last, 1), last, 40)
				}
				if round == 2 {
					return
				}
				fs.mu.Lock()
				plant(fs)
				fs.mu.Unlock()
				var writing sync.WaitGroup
				for _, g := range views {
					writing.Go(func() {
						for {
							last, _ := g.LastIndex()
							err := g.StoreLog(entry(g.Name(), last+1, 40))
							if err != nil {
								if !errors.Is(err, ErrFailed) || name == "full" && !errors.Is(err, syscall.ENOSPC) {
									t.Errorf("append after a failure = %v, want ErrFailed", err)
								}
								return
							}
						}
					})
				}
				writing.Wait()
				var names []string
				for range groups {
					names = append(names, <-told)
				}
				if slices.Sort(names); len(slices.Compact(names)) != groups || len(told) > 0 {
					t.Errorf("told %v and %d more", names, len(told))
				}
				for _, g := range views {
					if err := g.SetUint64([]byte("term"), 1); !errors.Is(err, ErrFailed) {
						t.Errorf("a vote after the failure = %v, want ErrFailed", err)
					}
				}
				fs.mu.Lock()
				fs.room = -1
				fs.mu.Unlock()
				for _, g := range views {
					var number int
					fmt.Sscanf(g.Name(), "g%d", &number)
					acknowledged[number], _ = g.LastIndex()
				}
			}
		})
	}
}

// TestSilentGroup has a group write once, and others go on: it is asked for a snapshot, and
// then copied, so that the files stay few.
func TestSilentGroup(t *testing.T) {
	fs := newMemFS()
	var mu sync.Mutex
	asked := map[string]int{}
	l := openOn(t, fs)
	user := func(name string) *Group {
		g, err := l.Group(name, User{Stale: func() {
			mu.Lock()
			defer mu.Unlock()
			asked[name]++
		}})
		must(t, err)
		return g
	}
	silent, busy := user("silent"), user("busy")
	must(t, silent.SetUint64([]byte("vote"), 42))
	appendTo(t, silent, 1, 100, 50)
	must(t, busy.StoreLog(entry("busy", 1, 50)))
	most := 0
	for i := uint64(2); i < 4000; i++ {
		must(t, busy.StoreLog(entry("busy", i, 50)))
		must(t, busy.DeleteRange(1, i-1))
		most = max(most, len(fs.image()))
	}
	mu.Lock()
	if asked["silent"] == 0 || asked["busy"] > 0 {
		t.Errorf("asked for snapshots: %v, want the silent group only", asked)
	}
	mu.Unlock()
	if most > 16 || l.current().number < 50 {
		t.Errorf("up to %d files for %d segments", most, l.current().number)
	}
	wantEntries(t, silent, 1, 100, 50)
	must(t, l.Close())
	l = openOn(t, fs)
	silent = group(t, l, "silent")
	wantEntries(t, silent, 1, 100, 50)
	if vote, err := silent.GetUint64([]byte("vote")); vote != 42 || err != nil {
		t.Errorf("vote = %d, %v; want 42", vote, err)
	}
}

// TestOldContent begins a segment in a file that has good frames of the same group wherever
// one of the new ones may end.
func TestOldContent(t *testing.T) {
	fs := newMemFS()
	l := openOn(t, fs)
	g := group(t, l, "a")
	for i := uint64(1); l.current().number < 6; i++ {
		must(t, g.StoreLog(entry("a", i, 50)))
		must(t, g.DeleteRange(1, i-1))
	}
	last, _ := g.LastIndex()
	if fs.names[segmentName(1)] != nil {
		t.Fatal("no file was used again")
	}
	data := fs.image()[segmentName(l.current().number)]
	if rest := data[l.current().end:]; !slices.ContainsFunc(rest, func(b byte) bool { return b != 0 }) {
		t.Fatal("there is no old content")
	}
	disk := diskOf(fs.image()) // before it is closed
	must(t, l.Close())
	l = openOn(t, disk)
	g = group(t, l, "a")
	wantEntries(t, g, last, last, 50)
	appendTo(t, g, last+1, last+3, 50)
}

// TestDrop drops a group: nothing of it is there, and one of its name is a new one.
func TestDrop(t *testing.T) {
	fs := newMemFS()
	l := openOn(t, fs)
	g := group(t, l, "a")
	must(t, g.SetUint64([]byte("term"), 3))
	appendTo(t, g, 5, 9, 20)
	must(t, l.Drop("a"))
	must(t, l.Drop("a"))
	if err := g.StoreLog(entry("a", 10, 20)); !errors.Is(err, ErrClosed) {
		t.Errorf("append to a group that was dropped = %v, want ErrClosed", err)
	}
	if l.Has("a") || len(l.Groups()) > 0 {
		t.Error("it is still there")
	}
	for range 2 {
		g = group(t, l, "a")
		wantEntries(t, g, 0, 0, 20)
		if term, err := g.GetUint64([]byte("term")); term != 0 || err != nil {
			t.Errorf("term = %d, %v; want none", term, err)
		}
		must(t, l.Close())
		l = openOn(t, fs)
	}
}

// TestRefusals asks for what does not fit: it is refused, and the log goes on.
func TestRefusals(t *testing.T) {
	l := openOn(t, newMemFS())
	g := group(t, l, "a")
	appendTo(t, g, 3, 6, 20)
	for name, err := range map[string]error{
		"gap":       g.StoreLog(entry("a", 8, 20)),
		"again":     g.StoreLog(entry("a", 6, 20)),
		"gap later": g.StoreLogs([]*raft.Log{entry("a", 7, 20), entry("a", 9, 20)}),
		"middle":    g.DeleteRange(4, 5),
		"key":       g.Set(make([]byte, maxKey+1), nil),
		"value":     g.Set([]byte("k"), make([]byte, maxValue+1)),
		"size":      g.StoreLog(&raft.Log{Index: 7, Data: make([]byte, MaxEntryBytes+1)}),
	} {
		if err == nil || errors.Is(err, ErrFailed) {
			t.Errorf("%s: %v, want a refusal", name, err)
		}
	}
	for i := range maxValues {
		must(t, g.Set(fmt.Append(nil, i), []byte("x")))
	}
	if g.Set([]byte("one more"), nil) == nil {
		t.Error("a key too many was taken")
	}
	must(t, g.DeleteRange(1, 2))
	must(t, g.DeleteRange(7, 9))
	for _, index := range []uint64{0, 2, 7} {
		if err := g.GetLog(index, new(raft.Log)); !errors.Is(err, raft.ErrLogNotFound) {
			t.Errorf("GetLog(%d) = %v, want ErrLogNotFound", index, err)
		}
	}
	wantEntries(t, g, 3, 6, 20)
	must(t, l.Close())
	if err := g.StoreLog(entry("a", 7, 20)); !errors.Is(err, ErrClosed) {
		t.Errorf("append to a closed log = %v, want ErrClosed", err)
	}
}

// TestFiles runs on the file system: restarts, with files used again and removed.
func TestFiles(t *testing.T) {
	dir := t.TempDir() + "/log"
	next := uint64(1)
	for range 4 {
		l, err := Open(Config{Dir: dir, SegmentBytes: minSegmentBytes})
		must(t, err)
		g := group(t, l, "a")
		if next > 1 {
			wantEntries(t, g, next-10, next-1, 60)
		}
		for range 200 {
			must(t, g.StoreLog(entry("a", next, 60)))
			next++
		}
		must(t, g.DeleteRange(1, next-11))
		must(t, g.SetUint64([]byte("term"), next))
		must(t, l.Close())
	}
	names, err := OS{}.List(dir)
	must(t, err)
	if len(names) > 20 {
		t.Errorf("%d files are left", len(names))
	}
}
