package loadtest

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// A fakeServer is as much of a server as the clients here need, kept dumb: a
// list per user. It does what a test plants in it wrong. Its WebSocket side is
// another one's work than the clients'.
type fakeServer struct {
	t      *testing.T
	server *httptest.Server
	faults faults

	mu    sync.Mutex
	users map[string]*fakeUser
	sent  map[string]protocol.SendOK // by sender, receiver and cid
	sends int
	ids   uint64
	held  map[string]bool // sends that were to be overtaken, by sender, receiver and cid
	// resumed counts messages pushed by logins with a cursor.
	resumed int

	groups map[string]*fakeGroup
}

// faults are what a fakeServer does wrong. Each is called with mu held.
type faults struct {
	// push changes message n of those pushed to a user other than by their login,
	// counted from 1 over all their sessions.
	push func(n int, m protocol.Message) []protocol.Message
	// resume changes message n of those pushed by logins with a cursor.
	resume func(n int, m protocol.Message) []protocol.Message
	// reply changes the answer to send n of all.
	reply func(n int, ok protocol.SendOK) protocol.SendOK
	// refuse answers send n with an error instead of storing it.
	refuse func(n int) (code string)
	// cut ends the connection after send n, before (true) it is stored or
	// instead of answering it.
	cut func(n int) (cut, before bool)
	// freeze stores nothing of send n, and handles nothing more on its connection,
	// which stays.
	freeze func(n int) bool
	// overtake stores send n behind the one that follows it on its connection, unless
	// it was to be overtaken before: if none follows it is neither stored nor answered.
	overtake func(n int, args *protocol.SendArgs) bool
	// forget stores repeats again.
	forget bool
	synced func(*protocol.Synced)
	// groupPush changes message n, counted from 1, of those that a member of a
	// group is pushed other than by their login.
	groupPush func(user string, n int, m protocol.Message) []protocol.Message
	// history changes what a reader finds of all that a user has sent and got.
	history func(user string, log []protocol.Message) []protocol.Message
	// echo pushes messages of a group to the session that sent them, too.
	echo bool
	// page changes the reply to a getMessage in a group.
	page func(*protocol.PageOK)
	// failed are users who cannot be added to a group.
	failed []string
}

type fakeUser struct {
	log     []protocol.Message // in arrival order; its number is the index plus 1
	origins []int              // the session that sent each, 0 = another user's
	seqs    map[string]uint64
	session *fakeSession
	logins  int
	pushed  int
	groups  map[string]int // messages pushed
}

type fakeSession struct {
	ws     *websocket.Conn
	codec  protocol.Codec
	user   string
	number int
	d      uint64
	frozen bool
	held   *protocol.Request // a send that the next one overtakes
}

func newFakeServer(t *testing.T, f faults) *fakeServer {
	s := &fakeServer{t: t, faults: f, users: map[string]*fakeUser{}, sent: map[string]protocol.SendOK{}, held: map[string]bool{}, groups: map[string]*fakeGroup{}}
	s.server = httptest.NewServer(s)
	t.Cleanup(s.server.Close)
	return s
}

// target is the server as a scenario knows it. A token is the user's name.
func (s *fakeServer) target(codec protocol.Codec) Server {
	return Server{URLs: []string{s.server.URL}, Codec: codec, Token: func(user string) (string, error) { return user, nil }}
}

func (s *fakeServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{protocol.SubprotocolJSON, protocol.SubprotocolMsgpack}})
	if err != nil {
		return
	}
	defer ws.CloseNow()
	codec, _ := protocol.CodecFor(ws.Subprotocol())
	session := &fakeSession{ws: ws, codec: codec}
	for {
		_, data, err := ws.Read(context.Background())
		if err != nil {
			return
		}
		req, err := protocol.DecodeRequest(codec, data)
		if err != nil {
			s.t.Errorf("a client sent %q: %v", data, err)
			return
		}
		s.mu.Lock()
		alive := s.handle(session, &req)
		s.mu.Unlock()
		if !alive {
			return
		}
	}
}

// hangUp ends all connections, as the end of the server does.
func (s *fakeServer) hangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range s.users {
		if u.session != nil {
			u.session.ws.CloseNow()
		}
	}
}

// close ends the connections of users whose names, behind the run's prefix,
// begin with kind.
func (s *fakeServer) close(kind string, code websocket.StatusCode) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, u := range s.users {
		if strings.HasPrefix(name[strings.LastIndexByte(name, '-')+1:], kind) && u.session != nil {
			go u.session.ws.Close(code, "planted") // it waits for the other side
		}
	}
}

func (s *fakeServer) user(name string) *fakeUser {
	u := s.users[name]
	if u == nil {
		u = &fakeUser{seqs: map[string]uint64{}, groups: map[string]int{}}
		s.users[name] = u
	}
	return u
}

// handle does one request and tells whether the connection lives on.
func (s *fakeServer) handle(session *fakeSession, r *protocol.Request) bool {
	if session.frozen {
		return true
	}
	var ok protocol.OK
	switch r.Op {
	case protocol.OpLogin:
		s.login(session, r)
		return true
	case protocol.OpSend:
		return s.send(session, r)
	case protocol.OpPing:
		ok = &protocol.PingOK{ServerTime: 1}
	case protocol.OpGetMessage:
		var args protocol.GetMessageArgs
		if err := args.Decode(r.Args); err != nil {
			s.t.Error(err)
		}
		ok = s.page(session.user, &args)
		if args.Conv.Group {
			ok = s.groupPage(&args)
		}
	case protocol.OpAck:
		return true
	default:
		var known bool
		if ok, known = s.handleGroup(session, r); !known {
			s.t.Errorf("a client asked for %q", r.Op)
			return false
		}
	}
	session.write(protocol.AppendReplyOK(nil, session.codec, r.ID, ok))
	return true
}

// page returns a page of a one-to-one conversation: forward from args.After, or
// only where it ends.
func (s *fakeServer) page(user string, args *protocol.GetMessageArgs) *protocol.PageOK {
	u := s.user(user)
	to := u.seqs[args.Conv.ID]
	if !args.HasAfter {
		return &protocol.PageOK{From: to, To: to}
	}
	page := &protocol.PageOK{From: args.After + 1}
	log := u.log
	if s.faults.history != nil {
		log = s.faults.history(user, slices.Clone(log))
	}
	for _, m := range log {
		switch {
		case m.Conv != args.Conv || m.Seq <= args.After:
		case len(page.Messages) == args.Limit:
			page.More = true
		default:
			page.Messages = append(page.Messages, m)
			page.To = m.Seq
		}
	}
	return page
}

func (s *fakeServer) login(session *fakeSession, r *protocol.Request) {
	var args protocol.LoginArgs
	if err := args.Decode(r.Args); err != nil {
		s.t.Error(err)
	}
	u := s.user(args.Token)
	u.logins++
	session.user, session.number, u.session = args.Token, u.logins, session
	session.write(protocol.AppendReplyOK(nil, session.codec, r.ID, &protocol.LoginOK{User: args.Token, Session: uint64(u.logins), Limits: protocol.SessionLimits{Window: 256}}))
	from, offline := 0, 0
	if args.HasSince {
		from, _ = strconv.Atoi(args.Since)
	}
	for i := from; i < len(u.log); i++ {
		if u.origins[i] != 0 && !args.HasSince {
			continue // the queue holds what came in
		}
		offline++
		pushes := []protocol.Message{u.log[i]}
		if s.resumed++; args.HasSince && s.faults.resume != nil {
			pushes = s.faults.resume(s.resumed, u.log[i])
		}
		for _, p := range pushes {
			session.push(i+1, p)
		}
	}
	synced := &protocol.Synced{Offline: offline, Cursor: strconv.Itoa(len(u.log))}
	s.loginGroups(session, &args, synced)
	if s.faults.synced != nil {
		s.faults.synced(synced)
	}
	session.write(protocol.AppendSynced(nil, session.codec, synced))
}

func (s *fakeServer) send(session *fakeSession, r *protocol.Request) bool {
	var args protocol.SendArgs
	if err := args.Decode(r.Args, protocol.DefaultMaxBody); err != nil {
		s.t.Error(err)
	}
	s.sends++
	n := s.sends
	if session.frozen = s.faults.freeze != nil && s.faults.freeze(n); session.frozen {
		return true
	}
	key := fmt.Sprint(session.user, " ", args.Conv.ID, " ", args.CID)
	if session.held == nil && !s.held[key] && s.faults.overtake != nil && s.faults.overtake(n, &args) {
		session.held, s.held[key] = r, true // nothing else uses the memory of r
		return true
	}
	cut, before := false, false
	if s.faults.cut != nil {
		cut, before = s.faults.cut(n)
	}
	if cut && before {
		return false
	}
	if s.faults.refuse != nil {
		if code := s.faults.refuse(n); code != "" {
			session.write(protocol.AppendReplyErr(nil, session.codec, r.ID, code, "planted", 1))
			return !cut
		}
	}
	reply, again := s.sent[key]
	if again = again && !s.faults.forget; again {
		reply.Duplicate = true
	} else {
		reply = s.store(session, &args)
		s.sent[key] = reply
	}
	if cut {
		return false
	}
	if s.faults.reply != nil {
		reply = s.faults.reply(n, reply)
	}
	session.write(protocol.AppendSendOK(nil, session.codec, r.ID, &reply))
	if held := session.held; held != nil && held.ID != r.ID {
		alive := s.send(session, held)
		session.held = nil
		return alive
	}
	return true
}

// store puts a message into both views and pushes it.
func (s *fakeServer) store(session *fakeSession, args *protocol.SendArgs) protocol.SendOK {
	s.ids++
	from, to := session.user, args.Conv.ID
	m := protocol.Message{From: from, Time: int64(s.ids), CID: []byte(args.CID), Body: append([]byte(nil), args.Body...)}
	m.ID[15], m.ID[14], m.ID[13] = byte(s.ids), byte(s.ids>>8), byte(s.ids>>16)

	place := func(owner, peer string, origin int) protocol.Message {
		u := s.user(owner)
		u.seqs[peer]++
		stored := m
		stored.Conv, stored.Seq = protocol.UserConv(peer), u.seqs[peer]
		u.log, u.origins = append(u.log, stored), append(u.origins, origin)
		return stored
	}
	if args.Conv.Group {
		return s.storeGroup(session, to, m)
	}
	own := place(from, to, session.number)
	u := s.user(to)
	stored := place(to, from, 0)
	if u.session != nil {
		u.pushed++
		pushes := []protocol.Message{stored}
		if s.faults.push != nil {
			pushes = s.faults.push(u.pushed, stored)
		}
		for _, p := range pushes {
			u.session.push(len(u.log), p)
		}
	}
	return protocol.SendOK{ID: m.ID, Seq: own.Seq, Time: m.Time}
}

func (s *fakeSession) push(arrival int, m protocol.Message) {
	s.d++
	s.write(protocol.AppendNewMessage(nil, s.codec, &protocol.NewMessage{D: s.d, Messages: []protocol.Message{m}, Cursor: strconv.Itoa(arrival)}))
}

// write writes one frame. Whoever it fails on has gone.
func (s *fakeSession) write(frame []byte) {
	kind := websocket.MessageText
	if s.codec.Binary() {
		kind = websocket.MessageBinary
	}
	_ = s.ws.Write(context.Background(), kind, frame)
}
