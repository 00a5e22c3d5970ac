package gateway

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// A testStore is a Backend in memory: one shard that owns all slots, without
// log or replicas. What a command does is therefore real; when its outcome is
// told, and whether the store serves at all, is up to the test.
type testStore struct {
	mu            sync.Mutex
	state         *shard.State
	out           shard.Outcome
	watchers      map[command.UserID]map[command.SessionID]store.Watcher
	presence      map[store.Watcher][]command.UserID
	reservations  store.Reservations
	groupWatchers map[command.GroupID][]store.GroupWatcher
	background    map[sessionOf]bool // as the gateway said
	stalled       map[sessionOf]bool // likewise
	down          bool               // reads and commands get ErrUnavailable
	leaderless    bool               // commands are given up
	away          command.UserID     // their shard returns no Eligibility
	commands      []command.Command  // all that were applied, if recorded
	record        bool
	direct        bool    // reads are not encoded: benchmarks measure the gateway
	mute          bool    // watchers of groups are not told what commands did
	front         Backend // what wraps the store, nil for nothing
	elsewhere     func()  // reads at a place are another node's, which answers once this returns; nil: all is here

	outcomes sync.Cond // of mu
	queue    []func()  // outcomes to be told, in order
	held     bool      // they wait
	begun    int64     // Login.Begun of what comes; 0 = now
	closed   bool
	teller   sync.WaitGroup
}

type sessionOf struct {
	user    command.UserID
	session command.SessionID
}

func newTestStore(t testing.TB) *testStore {
	s := &testStore{
		state:         shard.NewState(0),
		background:    make(map[sessionOf]bool),
		stalled:       make(map[sessionOf]bool),
		watchers:      make(map[command.UserID]map[command.SessionID]store.Watcher),
		presence:      make(map[store.Watcher][]command.UserID),
		groupWatchers: make(map[command.GroupID][]store.GroupWatcher),
	}
	_, s.direct = t.(*testing.B)
	s.outcomes.L = &s.mu
	s.apply(&command.OpenSlots{Epoch: 1, Slots: []command.SlotRange{{Last: command.Slots - 1}}})
	s.teller.Go(s.tell)
	t.Cleanup(func() {
		s.mu.Lock()
		s.closed, s.held = true, false
		s.outcomes.Broadcast()
		s.mu.Unlock()
		s.teller.Wait()
	})
	return s
}

// apply runs one command and its effects. The caller holds mu, but for the one
// of newTestStore.
func (s *testStore) apply(cmd command.Command) command.Result {
	if s.record {
		switch c := cmd.(type) { // the session uses its own anew
		case *command.Send:
			cmd = new(*c)
		case *command.SendGroup:
			cmd = new(*c)
		}
		s.commands = append(s.commands, cmd)
	}
	batch := command.AppendCommand(command.AppendBatchHeader(nil, s.Now()), cmd)
	s.state.Apply(batch, &s.out)
	for _, k := range s.out.Kicked {
		if w := s.watchers[k.User][k.Session]; w != nil {
			w.Kick(k.Reason)
		}
	}
	for _, u := range s.out.Users {
		for _, w := range s.watchers[u] {
			w.Wake()
		}
	}
	s.tellGroups()
	return s.out.Results[0]
}

func (s *testStore) tell() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case len(s.queue) > 0 && !s.held:
			queue := s.queue
			s.queue = nil
			s.mu.Unlock()
			for _, f := range queue {
				f()
			}
			s.mu.Lock()
		case s.closed:
			return
		default:
			s.outcomes.Wait()
		}
	}
}

// hold keeps outcomes back until release.
func (s *testStore) hold() { s.mu.Lock(); defer s.mu.Unlock(); s.held = true }

func (s *testStore) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = false
	s.outcomes.Broadcast()
}

// setDown makes the store unavailable, or available again.
func (s *testStore) setLeaderless(is bool) { s.mu.Lock(); defer s.mu.Unlock(); s.leaderless = is }
func (s *testStore) setDown(down bool)     { s.mu.Lock(); defer s.mu.Unlock(); s.down = down }

// applied gives the commands since record was set.
func (s *testStore) applied() []command.Command {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]command.Command(nil), s.commands...)
}

// sessions counts the live sessions of a user, as replicated.
func (s *testStore) sessions(user command.UserID) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.state.Sessions(user))
}

// kick ends a session as an administrator would.
func (s *testStore) kick(user command.UserID, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.watchers[user] {
		w.Kick(reason)
	}
}

func (s *testStore) Submit(cmd command.Command, done func(command.Result, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var r command.Result
	var err error
	if s.down {
		err = store.ErrUnavailable
	} else if s.leaderless {
		err = store.ErrNoLeader
	} else {
		r = s.apply(cmd)
	}
	s.queue = append(s.queue, func() { done(r, err) })
	s.outcomes.Broadcast()
}

func (s *testStore) Propose(ctx context.Context, cmd command.Command) (command.Result, error) {
	type outcome struct {
		r   command.Result
		err error
	}
	told := make(chan outcome, 1)
	s.Submit(cmd, func(r command.Result, err error) { told <- outcome{r, err} })
	select {
	case o := <-told:
		return o.r, o.err
	case <-ctx.Done():
		return command.Result{}, store.ErrUnknown
	}
}

func (s *testStore) Login(_ context.Context, cmd *command.Login, recents query.RecentsMode, w store.Watcher) (*query.Sync, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return nil, store.ErrUnavailable
	}
	if s.begun != 0 {
		overtaken := *cmd
		overtaken.Begun = s.begun
		cmd = &overtaken
	}
	r := s.apply(cmd)
	if err := r.Err(); err != nil {
		return nil, err
	}
	if s.watchers[cmd.User] == nil {
		s.watchers[cmd.User] = make(map[command.SessionID]store.Watcher)
	}
	s.watchers[cmd.User][r.Session] = w
	return s.state.StartSync(cmd.User, &r, recents, s.Now()), nil
}

func (s *testStore) Unwatch(user command.UserID, session command.SessionID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.watchers[user], session)
}

func (s *testStore) SetStalled(user command.UserID, session command.SessionID, stalled bool, _ int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stalled[sessionOf{user, session}] = stalled
}

func (s *testStore) SetBackground(user command.UserID, session command.SessionID, background bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.background[sessionOf{user, session}] = background
}

func (s *testStore) Acked(command.UserID, command.SessionID) {}

// Read answers a query as another node would: through the bytes of both.
func (s *testStore) Read(q query.Query) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return store.ErrUnavailable
	}
	if s.direct {
		return s.state.Answer(q, s.Now())
	}
	asked, err := query.DecodeQuery(query.AppendQuery(nil, q))
	if err != nil {
		panic(err)
	}
	var refused *command.RefusedError
	if err := s.state.Answer(asked, s.Now()); err != nil {
		refused = err.(*command.RefusedError)
	}
	return query.DecodeAnswer(query.AppendAnswer(nil, asked, refused), q)
}

// ReaderAt reads as another node would answer, if elsewhere is set.
func (s *testStore) ReaderAt(p store.Place) store.Reader {
	if s.front != nil {
		return &remoteReader{s.front, s, p}
	}
	return &remoteReader{s, s, p}
}

// A remoteReader leaves its caller's place while the other node is asked.
type remoteReader struct {
	store.Reader
	store *testStore
	place store.Place
}

func (r *remoteReader) ask(read func() error) error {
	r.store.mu.Lock()
	elsewhere := r.store.elsewhere
	r.store.mu.Unlock()
	if elsewhere == nil {
		return read()
	}
	if _, err := r.place.Leave(); err != nil {
		return err
	}
	defer r.place.Return()
	elsewhere()
	return read()
}

func (r *remoteReader) Read(q query.Query) error {
	return r.ask(func() error { return r.Reader.Read(q) })
}

func (r *remoteReader) Since(user command.UserID, session command.SessionID, after uint64, b *query.Updates, maxMessages, maxBytes int) error {
	return r.ask(func() error { return r.Reader.Since(user, session, after, b, maxMessages, maxBytes) })
}

func (r *remoteReader) GroupSince(group command.GroupID, after uint64, b *query.Updates, maxMessages, maxBytes int) error {
	return r.ask(func() error { return r.Reader.GroupSince(group, after, b, maxMessages, maxBytes) })
}

func (r *remoteReader) History(q query.HistoryQuery, page *query.Page) error {
	return r.ask(func() error { return r.Reader.History(q, page) })
}

// setElsewhere sets elsewhere.
func (s *testStore) setElsewhere(wait func()) { s.mu.Lock(); defer s.mu.Unlock(); s.elsewhere = wait }

func (s *testStore) NextSync(user command.UserID, sync *query.Sync, b *query.Updates, maxMessages, maxBytes int) error {
	return sync.ReadNext(s.Read, user, b, maxMessages, maxBytes)
}

func (s *testStore) Since(user command.UserID, session command.SessionID, after uint64, b *query.Updates, maxMessages, maxBytes int) error {
	return s.Read(&query.UpdatesAfter{
		User: user, Session: session, After: after, MaxMessages: maxMessages, MaxBytes: maxBytes, Updates: b,
	})
}

func (s *testStore) Recents(_ context.Context, user command.UserID, maxBytes int) (query.ConversationList, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return query.ConversationList{}, store.ErrUnavailable
	}
	return s.state.Recents(user, maxBytes, s.Now()), nil
}

func (s *testStore) Conversations(user command.UserID, behind uint64, limit, maxBytes int) (query.ConversationList, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return query.ConversationList{}, store.ErrUnavailable
	}
	return s.state.Conversations(user, behind, limit, maxBytes, s.Now()), nil
}

func (s *testStore) History(q query.HistoryQuery, page *query.Page) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return store.ErrUnavailable
	}
	if q.Group != "" {
		switch info, exists := s.state.Group(q.Group, q.User); {
		case !exists:
			return &command.RefusedError{Code: command.CodeNotFound, Detail: "conv: there is no such group"}
		case info.Role == command.RoleNone && !q.Admin:
			return &command.RefusedError{Code: command.CodeForbidden, Detail: "conv: only for members of the group"}
		}
	}
	s.state.History(q, page, s.Now())
	return nil
}

func (s *testStore) Blocked(_ context.Context, user command.UserID) ([]command.UserID, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state.Blocked(user), nil
}

func (s *testStore) SendEphemeral(m *command.Send) (command.Result, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.Now()
	for _, to := range []command.UserID{m.To, m.User} {
		peer := m.User
		if to == m.User {
			peer = m.To
		}
		for number, w := range s.watchers[to] {
			if to == m.User && number == m.Session {
				continue
			}
			w.Signal(store.Signal{Kind: store.SignalEphemeral, User: m.User, Time: now, Message: &query.Message{
				ID: m.ID, Peer: peer, From: m.User, Time: now, CID: []byte(m.CID), Body: m.Body,
			}})
		}
	}
	return command.Result{ID: m.ID, Time: now}, nil
}

func (s *testStore) Typing(from, to command.UserID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.watchers[to] {
		w.Signal(store.Signal{Kind: store.SignalTyping, User: from, Time: s.Now()})
	}
}

func (s *testStore) Presence(_ command.UserID, users []command.UserID) (map[command.UserID]store.Presence, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := make(map[command.UserID]store.Presence)
	for _, u := range users {
		if s.state.Exists(u) {
			known[u] = store.Presence{Online: len(s.watchers[u]) > 0, LastSeen: s.state.LastSeen(u)}
		}
	}
	return known, nil
}

func (s *testStore) SubscribePresence(asker command.UserID, users []command.UserID, w store.Watcher) (map[command.UserID]store.Presence, error) {
	s.mu.Lock()
	s.presence[w] = append(s.presence[w], users...)
	s.mu.Unlock()
	return s.Presence(asker, users)
}

func (s *testStore) UnsubscribePresence(w store.Watcher) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.presence, w)
}

func (s *testStore) Knows(user, peer command.UserID) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state.HasConversation(user, peer), nil
}

func (s *testStore) Exists(user command.UserID) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state.Exists(user), nil
}

func (s *testStore) Ready() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return store.ErrUnavailable
	}
	return nil
}

func (s *testStore) Now() int64 { return time.Now().UnixMilli() }
