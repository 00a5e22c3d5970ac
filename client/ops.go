package client

import (
	"context"
	"slices"

	"github.com/belfry-im/belfry/client/store"
	"github.com/belfry-im/belfry/gateway/protocol"
)

// maxWatched bounds the users whose presence one client follows.
const maxWatched = 1000

// The requests below wait for their answer until ctx ends, across broken
// connections: all of them are safe to repeat. Their errors are those of Send.

// A Query asks for a page of a conversation. At most one of Before, After and
// From..To is set; without any, it asks for the newest messages.
type Query struct {
	Before    uint64 // the newest messages before this seq
	After     uint64 // the oldest messages after this seq
	FromStart bool   // the oldest messages of all
	From, To  uint64 // this range of seqs, both included
	Limit     int    // messages, 1-100; 0 = 20
}

// History fetches a page of what the server keeps of a conversation. The page
// accounts for every seq from From to To: there is its message, or a gap with
// the reason. It neither reads nor writes the store: see Messages. Messages seen this way
// may still come through OnMessages.
func (c *Client) History(ctx context.Context, conv string, q Query) (Page, error) {
	of, err := q.check(conv)
	if err != nil {
		return Page{}, err
	}
	var page Page
	err = c.ask(ctx, protocol.OpGetMessage, &page, &protocol.GetMessageArgs{
		Conv: of, Before: q.Before, After: q.After, HasAfter: q.After != 0 || q.FromStart,
		From: q.From, To: q.To, Limit: q.Limit,
	})
	return page, err
}

// Recents lists the recent conversations, newest first, each with its last
// message. If More is set, the answer had no room for the others; ServerConversations
// lists all.
func (c *Client) Recents(ctx context.Context) (ConversationList, error) {
	var ok ConversationList
	err := c.ask(ctx, protocol.OpGetRecents, &ok, nil)
	return ok, err
}

// ServerConversations lists all conversations and groups that the server has, but those that
// the user has deleted: first those with users, the one with the newest message first, then
// groups by name. after is "" for the first page and the After of the page before
// for others, as long as that has More. A limit is 1-100; 0 = 20.
func (c *Client) ServerConversations(ctx context.Context, after string, limit int) (ConversationList, error) {
	if limit < 0 || limit > protocol.MaxMessages {
		return ConversationList{}, wrong("limit", "must be 1-%d, or 0 for %d", protocol.MaxMessages, protocol.DefaultPageLimit)
	}
	var ok ConversationList
	err := c.ask(ctx, protocol.OpGetConversations, &ok, &protocol.GetConversationsArgs{After: after, Limit: limit})
	return ok, err
}

// ReadReport reports that the user has read a conversation up to seq, and returns
// how many messages are unread in it now. A seq at or below an earlier one changes nothing.
func (c *Client) ReadReport(ctx context.Context, conv string, seq uint64) (unread int, err error) {
	of, err := messageOf(conv, seq)
	if err != nil {
		return 0, err
	}
	var ok protocol.ReadReportOK
	err = c.agree(ctx, of, protocol.OpReadReport, &ok, &protocol.ReadReportArgs{Conv: of, Seq: seq}, func(t *store.Tx, newest, login uint64) {
		if c.disk.noteRead(of, login, readState{seq, ok.Unread}) {
			t.Read(of, seq, c.disk.User())
			return
		}
		t.Reported(of, seq, ok.Unread, newest, c.disk.User())
	})
	return ok.Unread, err
}

// Recall takes back a message for everybody. Once the server's recall window (2
// minutes, unless set otherwise) has passed, the error is "too_late".
func (c *Client) Recall(ctx context.Context, conv string, seq uint64) error {
	of, err := messageOf(conv, seq)
	if err != nil {
		return err
	}
	return c.ask(ctx, protocol.OpRecall, nil, &protocol.RecallArgs{Conv: of, Seq: seq})
}

// DeleteMessages hides 1-100 messages from the user's own view, on all devices, and removes
// them from the store.
func (c *Client) DeleteMessages(ctx context.Context, conv string, seqs ...uint64) error {
	of, err := messagesOf(conv, seqs)
	if err != nil {
		return err
	}
	return c.agree(ctx, of, protocol.OpDeleteMessage, nil, &protocol.DeleteMessageArgs{Conv: of, Seqs: seqs}, func(t *store.Tx, _, _ uint64) {
		t.DeleteMessages(of, seqs, c.disk.User())
	})
}

// DeleteLocalMessages removes 1-100 messages from the store alone, for good: they are not
// fetched again, nor passed to OnMessages. The user's other devices keep them. Seqs beyond
// the newest that the store knows are left out.
func (c *Client) DeleteLocalMessages(conv string, seqs ...uint64) error {
	of, err := messagesOf(conv, seqs)
	if err != nil {
		return err
	}
	if !c.disk.stores(of) {
		return ErrNoStore
	}
	return c.store(of, func(t *store.Tx) {
		newest := t.Entry(of).End
		known := slices.DeleteFunc(slices.Clone(seqs), func(seq uint64) bool { return seq > newest })
		t.DeleteMessages(of, known, c.disk.User())
	})
}

func messagesOf(conv string, seqs []uint64) (protocol.Conv, error) {
	if len(seqs) < 1 || len(seqs) > protocol.MaxSeqs || slices.Contains(seqs, 0) || slices.Max(seqs) > protocol.MaxInt {
		return protocol.Conv{}, wrong("seqs", "must be 1-%d; each must be 1-%d", protocol.MaxSeqs, uint64(protocol.MaxInt))
	}
	return protocol.ParseConv(conv)
}

// DeleteConversation takes a conversation off the user's recents and its messages
// out of the user's offline queue. With messages it deletes the history, too.
// Other users keep theirs. The store does the same with what it had at the call: what came
// since stays.
func (c *Client) DeleteConversation(ctx context.Context, conv string, messages bool) error {
	of, err := protocol.ParseConv(conv)
	if err != nil {
		return err
	}
	args := &protocol.DeleteConversationArgs{Conv: of, Messages: messages}
	return c.agree(ctx, of, protocol.OpDeleteConversation, nil, args, func(t *store.Tx, newest, _ uint64) {
		t.DeleteConversation(of, newest, messages, c.disk.User())
	})
}

// DeleteLocalConversation does what DeleteConversation does in the store alone. A new message
// lists the conversation again.
func (c *Client) DeleteLocalConversation(conv string, messages bool) error {
	of, err := protocol.ParseConv(conv)
	if err != nil {
		return err
	}
	if !c.disk.stores(of) {
		return ErrNoStore
	}
	return c.store(of, func(t *store.Tx) { t.DeleteConversation(of, t.Entry(of).End, messages, c.disk.User()) })
}

// agree makes a request as ask does, and writes into the store with f what the server has
// agreed to, if the conversation is stored. newest is the seq that was the highest known to be
// taken when the request was made, login the number of the session with the answer. If that was reset meanwhile, seqs may name
// other messages now, and nothing is written.
func (c *Client) agree(ctx context.Context, conv protocol.Conv, op string, ok payload, args protocol.Args, f func(t *store.Tx, newest, login uint64)) error {
	if !c.disk.stores(conv) {
		return c.ask(ctx, op, ok, args)
	}
	var newest uint64
	reset := c.disk.resetIn(conv)
	if err := c.disk.View(func(t *store.Tx) { newest = t.Entry(conv).End }); err != nil {
		return err
	}
	if err := c.ask(ctx, op, ok, args); err != nil {
		return err
	}
	login := c.disk.login.Load()
	return c.store(conv, func(t *store.Tx) {
		if c.disk.resetIn(conv) == reset {
			f(t, newest, login)
		}
	})
}

// store writes into the store, if the conversation is stored.
func (c *Client) store(conv protocol.Conv, f func(*store.Tx)) error {
	if !c.disk.stores(conv) {
		return nil
	}
	return c.disk.Update(func(t *store.Tx) {
		if !t.Disabled(conv) {
			f(t)
		}
	})
}

// A ConversationPage is a page of the conversations in the store.
type ConversationPage struct {
	List []Conversation // each with its last message, if that is in the store
	More bool           // there are more behind these
	// Unread sums up what is unread in all conversations, and UnreadUnmuted in those that
	// are not muted.
	Unread, UnreadUnmuted int
}

// Conversations lists the conversations in the store, without asking anybody: those that
// the user has pinned, then the one with the newest message first. It leaves out skip of
// them and returns up to limit (1-1,000, 0 = 100). The store knows the conversations
// that logins have named, or that messages came in: see ServerConversations for all.
func (c *Client) Conversations(skip, limit int) (ConversationPage, error) {
	switch {
	case skip < 0:
		return ConversationPage{}, wrong("skip", "must not be negative")
	case limit < 0 || limit > maxListed:
		return ConversationPage{}, wrong("limit", "must be 1-%d, or 0 for %d", maxListed, maxListed/10)
	case c.disk == nil:
		return ConversationPage{}, ErrNoStore
	case limit == 0:
		limit = maxListed / 10
	}
	var list ConversationPage
	err := c.disk.View(func(t *store.Tx) {
		list.List, list.More, list.Unread, list.UnreadUnmuted = t.Conversations(skip, limit)
	})
	return list, err
}

// maxListed bounds a page of Conversations.
const maxListed = 1000

// A Setting changes the user's settings of a conversation; nil fields change
// nothing.
type Setting struct {
	Muted  *bool
	Pinned *bool
	Unread *bool // marks it as unread, until the next ReadReport or message there
}

// SetConversation changes the user's settings of a conversation.
func (c *Client) SetConversation(ctx context.Context, conv string, to Setting) error {
	of, err := protocol.ParseConv(conv)
	if err != nil {
		return err
	}
	return c.ask(ctx, protocol.OpSetConversation, nil, &protocol.SetConversationArgs{Conv: of, Muted: to.Muted, Pinned: to.Pinned, Unread: to.Unread})
}

// Block stops messages of another user from now on.
func (c *Client) Block(ctx context.Context, user string) error {
	return c.block(ctx, protocol.OpBlock, user)
}

// Unblock ends a Block: later messages of that user are shown again.
func (c *Client) Unblock(ctx context.Context, user string) error {
	return c.block(ctx, protocol.OpUnblock, user)
}

func (c *Client) block(ctx context.Context, op, user string) error {
	if !protocol.ValidUser(user) {
		return wrong("user", protocol.UserRule)
	}
	return c.ask(ctx, op, nil, &protocol.BlockArgs{User: user})
}

// Blocked lists the users that are blocked.
func (c *Client) Blocked(ctx context.Context) ([]string, error) {
	var ok protocol.BlockedOK
	err := c.ask(ctx, protocol.OpGetBlocked, &ok, nil)
	return ok.Users, err
}

// Typing tells the others of a conversation that the user types. It does not
// wait; without a connection, or when many such notices wait, it does nothing.
func (c *Client) Typing(conv string) error {
	of, err := protocol.ParseConv(conv)
	if err != nil {
		return err
	}
	c.mu.Lock()
	s := c.session
	c.mu.Unlock()
	if s == nil {
		return nil
	}
	select {
	case s.typing <- of:
		c.out.signal()
	default:
	}
	return nil
}

// Presence returns for up to 100 users whether they are online, and if not, when
// they last were. Users whose presence this user may not see are left out.
func (c *Client) Presence(ctx context.Context, users ...string) ([]UserPresence, error) {
	return c.presence(ctx, protocol.OpGetPresence, users)
}

// WatchPresence returns what Presence does. From then on OnPresence is called
// with each change, on this connection and all that follow. A client follows at
// most 1,000 users.
func (c *Client) WatchPresence(ctx context.Context, users ...string) ([]UserPresence, error) {
	if err := checkUsers(users); err != nil {
		return nil, err
	}
	// First: a session that begins before the answer has to subscribe, too.
	fresh, err := c.watch(users)
	if err != nil {
		return nil, err
	}
	presence, err := c.presence(ctx, protocol.OpSubscribePresence, users)
	if err != nil {
		c.unwatch(fresh)
	}
	return presence, err
}

// watch adds users to those whose presence the client follows, and returns the
// new ones.
func (c *Client) watch(users []string) (fresh []string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, user := range users {
		if _, ok := c.watched[user]; !ok {
			fresh = append(fresh, user)
		}
	}
	if len(c.watched)+len(fresh) > maxWatched {
		return nil, wrong("users", "must be no more than %d in all", maxWatched)
	}
	for _, user := range fresh {
		c.watched[user] = struct{}{}
	}
	return fresh, nil
}

func (c *Client) unwatch(users []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, user := range users {
		delete(c.watched, user)
	}
}

func (c *Client) presence(ctx context.Context, op string, users []string) ([]UserPresence, error) {
	if err := checkUsers(users); err != nil {
		return nil, err
	}
	var ok protocol.PresenceOK
	err := c.ask(ctx, op, &ok, &protocol.PresenceArgs{Users: users})
	return ok.Presence, err
}

// SetBackground tells the server that the application is in the background, or no
// longer is: while it is, the server's webhook announces messages to the user as
// if they were offline. It holds for this connection and all that follow.
func (c *Client) SetBackground(ctx context.Context, background bool) error {
	c.mu.Lock() // first: a session that begins before the answer has to be told, too
	c.background = background
	c.mu.Unlock()
	return c.ask(ctx, protocol.OpSetState, nil, &protocol.SetStateArgs{Background: background})
}

// RefreshToken sends the server a new token from Config.Token. The client does so
// itself before a token expires; call it to replace one earlier.
func (c *Client) RefreshToken(ctx context.Context) error {
	_, err := c.refresh(ctx)
	return err
}

// messageOf checks the conversation and the seq that name a message, and returns
// the conversation.
func messageOf(conv string, seq uint64) (protocol.Conv, error) {
	if seq == 0 {
		return protocol.Conv{}, wrong("seq", "must be at least 1")
	}
	return protocol.ParseConv(conv)
}

// ask makes a request, waits for its answer and decodes that into ok, unless nil.
func (c *Client) ask(ctx context.Context, op string, ok payload, args protocol.Args) error {
	return c.out.do(ctx, &call{op: op, ok: ok, args: args})
}

func checkUsers(users []string) error {
	if len(users) < 1 || len(users) > protocol.MaxUsers || !validUsers(users) {
		return wrong("users", "must be 1-%d; each %s", protocol.MaxUsers, protocol.UserRule)
	}
	return nil
}

func validUsers(users []string) bool {
	return !slices.ContainsFunc(users, func(user string) bool { return !protocol.ValidUser(user) })
}
