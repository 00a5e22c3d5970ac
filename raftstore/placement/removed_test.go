package placement

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestRemovedIsTold removes a node: it ends with the reason, whether it runs, comes back
// later, or never was admitted.
func TestRemovedIsTold(t *testing.T) {
	for name, test := range map[string]struct{ admitted, away bool }{
		"runs":         {admitted: true},
		"comes back":   {admitted: true, away: true},
		"never let in": {},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				all := w.founded()
				w.eventually("made", func() bool { makeAll(all[0]); return len(Plan(all[0].Map(), NewUUID)) == 0 })
				cfg := w.config(3, 0)
				cfg.Join = []string{addr(0), addr(1)}
				d := w.run(cfg)
				w.eventually("it has joined", func() bool { return strings.Contains(d.Waiting(), "admit d") })
				if test.admitted {
					if err := all[0].propose(&Admit{Node: cfg.Node.ID}); err != nil {
						t.Fatal(err)
					}
					d.wait()
				}
				if test.away {
					d.stop()
				}
				if err := all[0].propose(&RemoveNode{Node: cfg.Node.ID}); err != nil {
					t.Fatal(err)
				}
				w.eventually("it is removed", func() bool {
					makeAll(all[1])
					removeLeaving(all[1])
					return all[1].Map().Node(cfg.Node.ID) == nil
				})
				if test.away {
					time.Sleep(time.Hour)
					d = w.run(cfg)
				}
				began := time.Now()
				<-d.Done()
				if err := d.Err(); !errors.Is(err, ErrRemoved) || !strings.Contains(err.Error(), "empty data folder") {
					t.Errorf("it ended with %v, want ErrRemoved and what to do", err)
				}
				if took := time.Since(began); took > time.Minute {
					t.Errorf("it was told after %v", took)
				}
				d.stop()
				for _, p := range all {
					if p.Err() != nil {
						t.Errorf("%s ended with %v", p.cfg.Node.Name, p.Err())
					}
				}
			})
		})
	}
}

// TestRefusedMemberSaysWhy starts a node of a cluster under another name: the others refuse
// it, and it says why for as long as they do.
func TestRefusedMemberSaysWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		all := w.founded()
		cfg := all[2].cfg
		all[2].stop()
		renamed := cfg
		renamed.Node.Name = "other"
		c := w.run(renamed)
		says := func() bool { return strings.Contains(c.Waiting(), "start it with --node c") }
		w.eventually("it says why it is refused", says)
		for range 100 {
			time.Sleep(100 * time.Millisecond)
			if !says() {
				t.Fatalf("Waiting = %q after it has said why", c.Waiting())
			}
		}
		if err := c.Err(); err != nil {
			t.Errorf("it has ended with %v", err)
		}
		c.stop()
		c = w.run(cfg)
		w.eventually("it is taken", func() bool { leader, _ := c.Leader(); return c.Waiting() == "" && leader != "" })
	})
}
