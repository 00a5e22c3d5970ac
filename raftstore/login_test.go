package raftstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// A reader is a session that reads on whenever it is woken.
type reader struct {
	ear
	woken chan struct{}
}

func newReader() *reader { return &reader{woken: make(chan struct{}, 1)} }

func (r *reader) Wake() {
	select {
	case r.woken <- struct{}{}:
	default:
	}
}

// Scenario 21: logins during a burst of messages see every message exactly
// once, in order, whether it comes with the sync or after it.
func TestLoginDuringBurst(t *testing.T) {
	s := open(t, testConfig(t))
	alice, bob := userIn(s, 0, 0), userIn(s, 1, 0)
	const messages, sessions = 300, 8
	var all sync.WaitGroup
	all.Go(func() {
		for n := range messages {
			send(t, s, message(alice, bob, n))
		}
	})
	var want []string
	for n := range messages {
		want = append(want, fmt.Sprintf("c%d", n))
	}
	for i := range sessions {
		all.Go(func() {
			r := newReader()
			sync := login(t, s, bob, fmt.Sprintf("device%d", i), r)
			var got []string
			var b query.Updates
			note := func() {
				for _, it := range b.Items {
					if it.Message >= 0 {
						got = append(got, string(b.Messages[it.Message].CID))
					}
				}
			}
			for more := true; more; more = b.More {
				if err := again(t, func() error { return s.NextSync(bob, sync, &b, 7, 1<<20) }); err != nil {
					t.Error(err)
					return
				}
				note()
			}
			after := sync.Arrival
			for len(got) < messages {
				select {
				case <-r.woken:
				case <-time.After(time.Minute):
					t.Errorf("session %d waits for a wake after %d messages", i, len(got))
					return
				}
				for more := true; more; more = b.More {
					if err := again(t, func() error { return s.Since(bob, sync.Session, after, &b, 7, 1<<20) }); err != nil {
						t.Error(err)
						return
					}
					note()
					after = b.Through
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("session %d saw %v", i, got)
			}
		})
	}
	all.Wait()
}

// Of logins of one device at the same moment one stays: the others are kicked, or refused if
// they were overtaken by one that began much later.
func TestLoginKicks(t *testing.T) {
	s := open(t, testConfig(t))
	alice := userIn(s, 0, 0)
	ears := make([]ear, 20)
	var overtaken atomic.Int32
	var all sync.WaitGroup
	for i := range ears {
		all.Go(func() {
			_, err := s.Login(context.Background(), &command.Login{User: alice, Device: "phone"}, query.RecentsOn, &ears[i])
			if refused, ok := errors.AsType[*command.RefusedError](err); ok && refused.Code == command.CodeConflict {
				overtaken.Add(1)
			} else if err != nil {
				t.Errorf("Login: %v", err)
			}
		})
	}
	all.Wait()
	kicked := 0
	eventually(t, "all sessions but one are kicked", func() bool {
		kicked = 0
		for i := range ears {
			kicked += len(ears[i].kicked())
		}
		return kicked == len(ears)-1-int(overtaken.Load())
	})
	infos, err := s.Sessions(context.Background(), alice)
	if err != nil || len(infos) != 1 {
		t.Fatalf("Sessions = %v, %v; want one", infos, err)
	}
	if err := s.Kick(context.Background(), alice, infos[0].Number); err != nil {
		t.Fatal(err)
	}
	eventually(t, "one session is kicked by the administrator", func() bool {
		last := 0
		for i := range ears {
			if slices.Equal(ears[i].kicked(), []string{"admin"}) {
				last++
			}
		}
		return last == 1
	})
	if infos, _ := s.Sessions(context.Background(), alice); len(infos) != 0 {
		t.Errorf("Sessions after Kick = %v", infos)
	}
}

func TestRefusedLogin(t *testing.T) {
	s := open(t, testConfig(t))
	alice := userIn(s, 0, 0)
	sync, err := s.Login(context.Background(), &command.Login{User: alice}, query.RecentsOn, &ear{})
	if refused, ok := errors.AsType[*command.RefusedError](err); !ok || refused.Code != command.CodeBadRequest || sync != nil {
		t.Errorf("Login without device = %v, %v; want CodeBadRequest", sync, err)
	}
	if s.hub.online(alice) {
		t.Error("a refused login left a watcher")
	}
}

// A login whose caller has left is undone.
func TestAbandonedLogin(t *testing.T) {
	s := open(t, testConfig(t))
	alice := userIn(s, 0, 0)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for range 20 {
		if _, err := s.Login(ctx, &command.Login{User: alice, Device: "phone"}, query.RecentsOn, &ear{}); err != nil && !errors.Is(err, store.ErrUnknown) {
			t.Fatalf("Login: %v, want ErrUnknown", err)
		} else if err == nil {
			return // answered before the end of ctx was seen
		}
	}
	eventually(t, "no session is left", func() bool {
		infos, err := s.Sessions(context.Background(), alice)
		return err == nil && len(infos) == 0 && !s.hub.online(alice)
	})
}

// Sessions without watcher are logged out: those of a gateway that let go, and
// those of a process that died.
func TestOrphansAreLoggedOut(t *testing.T) {
	cfg := testConfig(t)
	cfg.ClaimWithin = 100 * time.Millisecond
	s := open(t, cfg)
	alice, bob := userIn(s, 0, 0), userIn(s, 1, 0)
	phone := login(t, s, alice, "phone", &ear{})
	laptop := login(t, s, alice, "laptop", &ear{})
	login(t, s, bob, "phone", &ear{})
	s.Unwatch(alice, phone.Session)
	alive := func(user command.UserID) (sessions []command.SessionID) {
		infos, err := s.Sessions(context.Background(), user)
		if err != nil {
			t.Fatal(err)
		}
		for _, info := range infos {
			sessions = append(sessions, info.Number)
		}
		return sessions
	}
	eventually(t, "the phone is logged out", func() bool { return slices.Equal(alive(alice), []command.SessionID{laptop.Session}) })
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, cfg)
	eventually(t, "sessions of the process before are logged out", func() bool { return len(alive(alice))+len(alive(bob)) == 0 })
}

// A shard that was away and comes back wakes its watchers, and does not take
// their sessions for orphans.
func TestWatchersOutliveARestartOfTheShard(t *testing.T) {
	cfg := testConfig(t)
	cfg.ClaimWithin = 50 * time.Millisecond
	s := open(t, cfg)
	alice := userIn(s, 0, 0)
	r := newReader()
	sync := login(t, s, alice, "phone", r)
	if err := s.stopShard(0); err != nil {
		t.Fatal(err)
	}
	select {
	case <-r.woken:
	default:
	}
	if err := s.resumeShard(0); err != nil {
		t.Fatal(err)
	}
	<-r.woken
	eventually(t, "the shard serves", func() bool { return s.Ready() == nil })
	before := s.shards()[0].here().local.Applied()
	eventually(t, "orphans would be gone", func() bool {
		send(t, s, message(alice, alice, 1))
		return s.shards()[0].here().local.Applied() > before+200
	})
	infos, err := s.Sessions(context.Background(), alice)
	if err != nil || len(infos) != 1 || infos[0].Number != sync.Session {
		t.Errorf("Sessions = %v, %v; want session %d", infos, err, sync.Session)
	}
	if k := r.kicked(); len(k) > 0 {
		t.Errorf("kicked: %v", k)
	}
}
