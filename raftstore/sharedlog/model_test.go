package sharedlog

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/hashicorp/raft"
)

// A model is what one group is to have.
type model struct {
	first   uint64
	entries []string
	values  map[string]string
}

func (m *model) last() uint64 { return m.first + uint64(len(m.entries)) - 1 }

// An operation is one call of a group. Its steps are what may have been done of it, if it
// fails: none, the first, the first two, and so on.
type operation struct {
	name  string
	call  func(*Group) error
	steps []func(*model)
}

type modelRun struct {
	t      *testing.T
	rng    *rand.Rand
	fs     *memFS
	dir    string
	log    *Log
	models map[string]*model
	terms  uint64 // makes each entry another one
}

func (r *modelRun) open() error {
	log, err := Open(Config{Dir: r.dir, SegmentBytes: minSegmentBytes, FS: r.fs})
	r.log = log
	return err
}

// plan returns something to do with a group.
func (r *modelRun) plan(name string, m *model) operation {
	rng := r.rng
	drop := func(first, last uint64) operation {
		return operation{fmt.Sprint("delete ", first, "-", last), func(g *Group) error { return g.DeleteRange(first, last) }, []func(*model){func(m *model) {
			if first <= m.first {
				m.entries = m.entries[min(uint64(len(m.entries)), last-m.first+1):]
				m.first = last + 1
			} else {
				m.entries = m.entries[:first-m.first]
			}
		}}}
	}
	switch n := rng.IntN(20); {
	case n == 0 && len(m.entries) > 0: // conflicts with a leader's log
		return drop(m.first+uint64(1+rng.IntN(len(m.entries))), m.last())
	case n <= 3 && len(m.entries) > 0 && name != "silent":
		return drop(m.first, m.first+uint64(rng.IntN(len(m.entries))))
	case n == 4 && len(m.entries) > 0 && name != "silent":
		return drop(m.first, m.last())
	case n <= 6:
		key, value := fmt.Sprint("key", rng.IntN(3)), fmt.Sprint(rng.Uint64())
		return operation{"set", func(g *Group) error { return g.Set([]byte(key), []byte(value)) }, []func(*model){func(m *model) { m.values[key] = value }}}
	}
	op := operation{name: "append"}
	next := m.last() + 1
	if len(m.entries) == 0 {
		next = m.first + uint64(rng.IntN(3))
	}
	var entries []*raft.Log
	for i := range uint64(1 + rng.IntN(4)) {
		r.terms++
		size := rng.IntN(200)
		if rng.IntN(30) == 0 {
			size = rng.IntN(2 * minSegmentBytes)
		}
		data := fmt.Appendf(nil, "%s %d %0*d", name, next+i, size, r.terms)
		entries = append(entries, &raft.Log{Index: next + i, Term: r.terms, Type: raft.LogType(r.terms % 6), Data: data, Extensions: []byte("ext")[:r.terms%3]})
		op.steps = append(op.steps, func(m *model) {
			if len(m.entries) == 0 {
				m.first = next
			}
			m.entries = append(m.entries, string(data))
		})
	}
	op.call = func(g *Group) error { return g.StoreLogs(entries) }
	return op
}

// differs returns how a group differs from its model, "" if it does not.
func differs(g *Group, m *model) string {
	first, _ := g.FirstIndex()
	last, _ := g.LastIndex()
	if len(m.entries) == 0 {
		if first != 0 || last != 0 {
			return fmt.Sprintf("it has %d to %d, want nothing", first, last)
		}
	} else if first != m.first || last != m.last() {
		return fmt.Sprintf("it has %d to %d, want %d to %d", first, last, m.first, m.last())
	}
	for i, want := range m.entries {
		var e raft.Log
		if err := g.GetLog(m.first+uint64(i), &e); err != nil || string(e.Data) != want {
			return fmt.Sprintf("entry %d is %.40q, %v; want %.40q", m.first+uint64(i), e.Data, err, want)
		}
		if e.Index != m.first+uint64(i) || e.Type != raft.LogType(e.Term%6) || string(e.Extensions) != "ext"[:e.Term%3] {
			return fmt.Sprintf("entry %d came back as %+v", m.first+uint64(i), e)
		}
	}
	for key, want := range m.values {
		if got, err := g.Get([]byte(key)); err != nil || string(got) != want {
			return fmt.Sprintf("%s is %q, %v; want %q", key, got, err, want)
		}
	}
	return ""
}

// round has some groups do something at once, and returns what those did whose calls failed.
func (r *modelRun) round() (unknown map[string]operation, err error) {
	unknown = map[string]operation{}
	var calls sync.WaitGroup
	var mu sync.Mutex
	for _, name := range []string{"a", "b", "c", "silent"} {
		if r.rng.IntN(3) == 0 || name == "silent" && r.rng.IntN(20) > 0 {
			continue
		}
		g, err := r.log.Group(name, User{})
		if errors.Is(err, ErrFailed) { // what a group before does has met the fault
			break
		}
		if err != nil {
			return unknown, err
		}
		m := r.models[name]
		op := r.plan(name, m)
		calls.Go(func() {
			err := op.call(g)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				for _, step := range op.steps {
					step(m)
				}
			case errors.Is(err, ErrFailed):
				unknown[name] = op
			default:
				r.t.Errorf("%s of group %s: %v", op.name, name, err)
			}
		})
	}
	calls.Wait()
	return unknown, nil
}

// check compares all groups with their models. Of what is unknown any number of steps may
// have been done; the models take over how many.
func (r *modelRun) check(unknown map[string]operation) error {
	for name, m := range r.models {
		g, err := r.log.Group(name, User{})
		if err != nil {
			return err
		}
		why := differs(g, m)
		for _, step := range unknown[name].steps {
			if why == "" {
				break
			}
			step(m)
			if differs(g, m) == "" {
				why = ""
			}
		}
		if why != "" {
			return fmt.Errorf("group %s: %s", name, why)
		}
	}
	return nil
}

// run does rounds with restarts, failures and crashes in between, and returns how the log
// differs from the models.
func (r *modelRun) run(rounds int) error {
	if err := r.open(); err != nil {
		return err
	}
	for _, name := range []string{"a", "b", "c", "silent"} {
		r.models[name] = &model{first: 1, values: map[string]string{}}
		if _, err := r.log.Group(name, User{}); err != nil {
			return err
		}
	}
	for range rounds {
		event := r.rng.IntN(12)
		r.fs.mu.Lock()
		switch event {
		case 0:
			r.fs.failSync = 1 + r.rng.IntN(6)
		case 1:
			r.fs.failWrite = 1 + r.rng.IntN(6)
		}
		r.fs.mu.Unlock()
		unknown, err := r.round()
		if err != nil {
			return err
		}
		if r.log.Err() == nil && event > 3 {
			if event == 4 {
				if err := r.check(unknown); err != nil {
					return err
				}
			}
			continue
		}
		r.fs.mu.Lock()
		r.fs.failSync, r.fs.failWrite = 0, 0
		r.fs.mu.Unlock()
		crashed := r.fs.crash(r.rng) // as it is before the log is closed
		r.log.Close()
		if event != 2 && r.rng.IntN(2) == 0 {
			r.fs = crashed
		}
		if err := r.open(); err != nil {
			return err
		}
		if err := r.check(unknown); err != nil {
			return fmt.Errorf("opened again: %w", err)
		}
	}
	return nil
}

func runModel(t *testing.T, seed uint64, rounds int, fs *memFS) error {
	r := &modelRun{t: t, rng: rand.New(rand.NewPCG(seed, 0)), fs: fs, dir: t.TempDir(), models: map[string]*model{}}
	defer func() {
		if r.log != nil {
			r.log.Close()
		}
	}()
	return r.run(rounds)
}

// TestModel compares groups that append, delete, vote, restart and crash with a model.
func TestModel(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			if err := runModel(t, seed, 200, newMemFS()); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestModelFindsFaults runs the model on disks that do not do what they are told to.
func TestModelFindsFaults(t *testing.T) {
	for name, plant := range map[string]func(*memFS){
		"a sync that does nothing":               func(fs *memFS) { fs.lieSync = true },
		"a sync of the folder that does nothing": func(fs *memFS) { fs.lieDir = true },
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(20) {
				fs := newMemFS()
				plant(fs)
				if err := runModel(t, seed, 150, fs); err != nil {
					t.Logf("seed %d: %v", seed, err)
					return
				}
			}
			t.Error("not found")
		})
	}
}
