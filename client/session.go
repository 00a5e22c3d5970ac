package client

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/belfry-im/belfry/gateway/protocol"
)

const (
	// maxFrame bounds a frame from the server: 64 KiB, or one message of
	// whatever size its operator allows.
	maxFrame = 1 << 20
	// maxNotices bounds the typing notices that wait to be written; more are dropped.
	maxNotices = 16
	// logoutTime is how long Close waits for the server to end the session.
	logoutTime = time.Second
)

// A session is one connection that is logged in. One goroutine reads from it,
// another writes.
type session struct {
	c      *Client
	ws     *websocket.Conn
	user   string
	limits protocol.SessionLimits
	ahead  time.Duration // the server's clock minus ours

	born time.Time // when it was logged in

	parts protocol.SyncedPart // of onSynced, so far; used by the dispatching goroutine alone

	// With a store: the number of this login there, with which cursors it was made, what
	// ends the session, and whether the store has failed it, for the dispatching goroutine.
	login  uint64
	since  bool
	groups []protocol.GroupCursor
	ctx    context.Context // of the session; ended by end
	end    context.CancelCauseFunc
	broken bool

	firstDelivery uint64 // number of the first one that came in it, 0 = none; used by the dispatching goroutine alone

	frame     []byte             // the writer's buffer
	typing    chan protocol.Conv // notices for the writer
	handled   atomic.Uint64      // newest delivery number that handlers have returned from
	acked     atomic.Uint64      // newest delivery number that the writer has acknowledged
	lastHeard atomic.Int64       // when the server gave a sign of life, as time since born
}

// serve connects, logs in and stays until the session ends. It returns how long
// the session lasted, and why it ended or could not begin.
func (c *Client) serve() (time.Duration, error) {
	token, err := c.loginToken()
	if err != nil {
		return 0, err
	}
	s, err := c.login(token)
	c.tokenAnswered(token, err)
	if err != nil {
		return 0, err
	}
	ctx, end := s.ctx, s.end
	defer end(nil)
	c.setSession(s)
	// A logout that gets nowhere must not hold up Close.
	defer context.AfterFunc(c.stop, func() {
		time.AfterFunc(logoutTime, func() { end(ErrClosed) })
	})()
	var loops sync.WaitGroup
	loops.Go(func() { end(s.read(ctx)) })
	loops.Go(func() { end(s.write(ctx)) })
	loops.Go(func() { s.restore(ctx) })
	s.keepToken(ctx, token)
	loops.Wait()

	s.ws.CloseNow()
	c.clearSession()
	err = context.Cause(ctx)
	if websocket.CloseStatus(err) == protocol.CloseUnauthorized {
		c.tokenRefused()
	}
	return time.Since(s.born), err
}

// login opens a connection and logs in on it.
func (c *Client) login(token string) (_ *session, err error) {
	ctx, cancel := context.WithTimeout(c.stop, c.cfg.LoginTimeout)
	defer cancel()
	url := c.urls[c.attempt%len(c.urls)]
	c.attempt++
	ws, resp, err := websocket.Dial(ctx, url, &websocket.DialOptions{
		HTTPClient:   c.cfg.HTTPClient,
		HTTPHeader:   http.Header{"User-Agent": {"belfry-go"}},
		Subprotocols: []string{c.cfg.Codec.Subprotocol()},
	})
	if err != nil {
		if resp != nil {
			return nil, fmt.Errorf("client: connect: HTTP status %d: %w", resp.StatusCode, err)
		}
		return nil, fmt.Errorf("client: connect: %w", err)
	}
	defer func() {
		if err != nil {
			ws.CloseNow()
		}
	}()
	ws.SetReadLimit(maxFrame)
	if want := c.cfg.Codec.Subprotocol(); ws.Subprotocol() != want {
		return nil, fmt.Errorf("client: connect: the server speaks %q, want %q", ws.Subprotocol(), want)
	}
	s := &session{c: c, ws: ws, born: time.Now(), typing: make(chan protocol.Conv, maxNotices)}
	s.ctx, s.end = context.WithCancelCause(context.Background())
	at, err := c.cursor()
	if err != nil {
		return nil, err
	}
	s.since, s.groups = at.Since != "", at.Groups
	id := c.out.newID()
	err = s.writeRequest(ctx, id, protocol.OpLogin, &protocol.LoginArgs{
		Token:        token,
		Device:       c.device(),
		Platform:     c.cfg.Platform,
		HasSince:     at.Since != "",
		Since:        at.Since,
		Groups:       at.Groups,
		AutoRead:     !c.cfg.ManualRead,
		Recents:      c.cfg.Recents,
		GroupBacklog: protocol.DefaultBacklog,
	})
	if err != nil {
		return nil, err
	}
	ok, err := s.awaitLogin(ctx, id)
	if err != nil {
		return nil, err
	}
	s.user, s.limits = ok.User, ok.Limits
	s.ahead = time.Until(time.UnixMilli(ok.ServerTime))
	s.born = time.Now()
	if c.disk != nil {
		if s.login, err = c.disk.Login(s.user, s.ahead); err != nil {
			return nil, err
		}
		c.disk.login.Store(s.login)
	}
	return s, nil
}

// awaitLogin reads up to the reply to the login, and returns it. It handles
// earlier pushes like all others.
func (s *session) awaitLogin(ctx context.Context, id uint64) (*protocol.LoginOK, error) {
	for {
		f, size, err := s.readFrame(ctx)
		switch {
		case websocket.CloseStatus(err) == protocol.CloseUnauthorized:
			return nil, refusedByClose
		case err != nil:
			return nil, err
		case f.ID != id:
			if err := s.handle(f, size); err != nil {
				return nil, err
			}
		case f.Err != nil:
			return nil, refusal(f.Err)
		default:
			ok := new(protocol.LoginOK)
			return ok, f.Decode(ok)
		}
	}
}
