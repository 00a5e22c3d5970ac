package store

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestDBs compares both kinds of DB with a map, over random transactions of which some fail.
func TestDBs(t *testing.T) {
	n := 0
	dir := t.TempDir()
	for name, open := range map[string]func() (DB, error){
		"memory": func() (DB, error) { return Memory(), nil },
		"file":   func() (DB, error) { n++; return OpenFile(filepath.Join(dir, fmt.Sprint(n))) },
	} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				db, err := open()
				if err != nil {
					t.Fatal(err)
				}
				defer db.Close()
				if d, ok := db.(*boltDB); ok {
					d.db.NoSync = true // nothing crashes here
				}
				model := make(map[string]string)
				key := rapid.StringMatching(`[abc]{1,3}`)
				for range rapid.IntRange(1, 8).Draw(t, "transactions") {
					next := maps.Clone(model)
					fail := rapid.Bool().Draw(t, "fail")
					err := db.Update(func(kv KV) error {
						for range rapid.IntRange(0, 10).Draw(t, "changes") {
							k := key.Draw(t, "key")
							if rapid.Bool().Draw(t, "delete") {
								kv.Delete([]byte(k))
								delete(next, k)
							} else {
								v := rapid.StringN(0, 5, 5).Draw(t, "value")
								kv.Put([]byte(k), []byte(v))
								next[k] = v
							}
						}
						if fail {
							return ErrCorrupt
						}
						return nil
					})
					if fail != errors.Is(err, ErrCorrupt) || !fail && err != nil {
						t.Fatalf("Update = %v, fails %t", err, fail)
					}
					if !fail {
						model = next
					}
					from, to := key.Draw(t, "from"), key.Draw(t, "to")
					descending := rapid.Bool().Draw(t, "descending")
					var want, got []string
					for k, v := range model {
						if k >= from && k < to {
							want = append(want, k+"="+v)
						}
					}
					slices.SortFunc(want, func(a, b string) int {
						a, b = a[:bytes.IndexByte([]byte(a), '=')], b[:bytes.IndexByte([]byte(b), '=')]
						if descending {
							a, b = b, a
						}
						return cmp.Compare(a, b)
					})
					err = db.View(func(kv KV) error {
						for k, v := range kv.Scan([]byte(from), []byte(to), descending) {
							got = append(got, string(k)+"="+string(v))
						}
						for k, v := range model {
							if !bytes.Equal(kv.Get([]byte(k)), []byte(v)) || kv.Get([]byte(k)) == nil {
								t.Fatalf("Get(%s) = %q, want %q", k, kv.Get([]byte(k)), v)
							}
						}
						return nil
					})
					if err != nil || !slices.Equal(got, want) {
						t.Fatalf("Scan(%s, %s, %t) = %v, %v, want %v", from, to, descending, got, err, want)
					}
				}
			})
		})
	}
}

func TestMarks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "folder", "a.db")
	for _, step := range []struct{ want, set [Marks]uint64 }{
		{set: [Marks]uint64{1, 2, 3}},
		{want: [Marks]uint64{1, 2, 3}, set: [Marks]uint64{1 << 60, 0, 4}},
		{want: [Marks]uint64{1 << 60, 0, 4}},
	} {
		db, err := OpenFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := db.Marks(); got != step.want {
			t.Errorf("marks %v, want %v", got, step.want)
		}
		for m, to := range step.set {
			if err := db.SetMark(Mark(m), to); err != nil {
				t.Fatal(err)
			}
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		if err := db.Update(func(KV) error { return nil }); !errors.Is(err, ErrClosed) {
			t.Errorf("Update after Close = %v, want ErrClosed", err)
		}
	}
}

// TestMarksDoNotWait: marks are set and read while a transaction runs, of whichever DB.
func TestMarksDoNotWait(t *testing.T) {
	file, err := OpenFile(filepath.Join(t.TempDir(), "a.db"))
	if err != nil {
		t.Fatal(err)
	}
	for name, db := range map[string]DB{"memory": Memory(), "file": file} {
		marked := make(chan error, 1)
		mark := func() {
			err := db.SetMark(MarkWritten, 7)
			if got := db.Marks()[MarkWritten]; err == nil && got != 7 {
				err = fmt.Errorf("mark %d, want 7", got)
			}
			marked <- err
		}
		err := db.Update(func(KV) error {
			go mark()
			select {
			case err := <-marked:
				return err
			case <-time.After(10 * time.Second):
				return errors.New("a mark waits for the transaction")
			}
		})
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestUpdatesAreShared: concurrent updates are all made, whoever makes them, and one that fails
// fails alone with those of its transaction.
func TestUpdatesAreShared(t *testing.T) {
	s, err := Open(Memory(), "host", "", func() string { return "made up" })
	if err != nil {
		t.Fatal(err)
	}
	if s.Device() != "made up" {
		t.Errorf("device %q", s.Device())
	}
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() {
			for range 200 {
				if err := s.Update(func(t *Tx) { t.next("calls") }); err != nil {
					t.Error(err)
				}
			}
		})
	}
	callers.Wait()
	var n number
	if err := s.View(func(t *Tx) { t.name("calls", &n) }); err != nil || n != 1600 {
		t.Errorf("%d updates, %v, want 1600", n, err)
	}
	if err := s.Update(func(t *Tx) { t.setName("calls", new(number)); t.err = ErrCorrupt }); !errors.Is(err, ErrCorrupt) {
		t.Errorf("Update = %v, want its error", err)
	}
	if err := s.View(func(t *Tx) { t.name("calls", &n) }); err != nil || n != 1600 {
		t.Errorf("%d after an update that failed, %v, want 1600", n, err)
	}
}
