package client

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// Config says who a client is and what it tells its application. URL, Token
// and Device are needed; everything else is usable when zero.
//
// The On… functions are the handlers; what a nil one would handle is ignored. They
// are called one at a time, from one goroutine. While one runs, the server
// holds back further messages; nothing is lost by taking long.
type Config struct {
	// URL of the server: ws, wss, http or https. Without a path it gets /v1/ws.
	URL string
	// Token returns a token of the user. It is called for every login and
	// whenever the last one is about to expire. An error is retried like a
	// broken connection, one that is ErrUnauthorized ends the client. It has to
	// return when its context ends.
	Token func(context.Context) (string, error)
	// Device names this terminal of the user, 1-64 bytes, the same every time.
	// A second client of one device ends the first.
	Device   string
	Platform string // "phone", "web" …, at most 64 bytes; for the server's session policy

	Codec protocol.Codec // protocol.JSON, which zero is, or protocol.Msgpack
	// ManualRead makes ReadReport the only thing that marks one-to-one
	// messages as read. Otherwise what a handler has returned from is read.
	ManualRead bool
	// Recents is protocol.RecentsOn, which empty is: OnSynced lists the recent
	// conversations and OnMessages gets the last message of each; RecentsQuiet:
	// only the list; or RecentsOff: neither.
	Recents string
	// Resume is the Cursor of this device at its last end. Zero = a new device.
	Resume Cursor

	// QueueMessages bounds the sends that wait for their answers, most of all
	// while there is no connection; 0 = 1000. QueueBytes bounds their bodies;
	// 0 = 4 MiB. Past either, sends get ErrQueueFull.
	QueueMessages int
	QueueBytes    int

	LoginTimeout time.Duration // for one attempt to connect and log in; 0 = 10s
	WriteTimeout time.Duration // for one frame; 0 = 10s
	// PingInterval is the silence after which the client asks whether the
	// server is there; 0 = 25s. Without an answer within PingTimeout, 0 = 10s,
	// it connects anew.
	PingInterval time.Duration
	PingTimeout  time.Duration
	// The pause before the n-th attempt to connect is drawn from
	// 0 … min(MaxBackoff, MinBackoff×2ⁿ). 0 = 250ms and 30s.
	MinBackoff time.Duration
	MaxBackoff time.Duration

	HTTPClient *http.Client // for proxies and TLS; nil = http.DefaultClient
	Log        *slog.Logger // nil discards

	OnMessages            func([]Message) // 1-100 in order, none of them seen before
	OnSynced              func(Synced)    // the end of what a login pushes
	OnReadReport          func(ReadReport)
	OnReadReceipt         func(ReadReceipt)
	OnRecall              func(Recall)
	OnMessagesDeleted     func(MessagesDeleted)
	OnConversationDeleted func(ConversationDeleted)
	OnConversationChanged func(ConversationChanged) // what the user has set of a conversation, on whatever device
	OnBlocked             func(Blocked)             // whom the user has blocked or let in again, likewise
	OnGroupEvent          func(GroupEvent)
	OnTyping              func(Typing)
	OnPresence            func(Presence)
	// OnSkipped reports how many messages of live groups the server left out because
	// this session was too slow.
	OnSkipped func(n int)
	// OnState reports the client's connection. States that pass while another
	// handler runs may be left out; the last one never is.
	OnState func(State)
	// OnKicked comes before StateClosed when the server has ended the client.
	OnKicked func(reason string)
}

// State is what a Client is doing.
type State uint8

const (
	StateConnecting State = iota // to connect and log in
	StateOnline                  // logged in
	StateWaiting                 // for the next attempt
	StateClosed                  // for good; see Client.Err
)

func (s State) String() string {
	switch s {
	case StateConnecting:
		return "connecting"
	case StateOnline:
		return "online"
	case StateWaiting:
		return "waiting"
	case StateClosed:
		return "closed"
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// withDefaults fills what is zero and refuses what cannot work.
func (c Config) withDefaults() (Config, error) {
	u, err := url.Parse(c.URL)
	switch {
	case err != nil:
		return c, wrong("URL", "must parse: %v", err)
	case u.Scheme != "ws" && u.Scheme != "wss" && u.Scheme != "http" && u.Scheme != "https":
		return c, wrong("URL", "must begin with ws, wss, http or https")
	case u.Host == "":
		return c, wrong("URL", "must name a host")
	case c.Token == nil:
		return c, wrong("Token", "must be set")
	case len(c.Device) < 1 || len(c.Device) > 64:
		return c, wrong("Device", "must be 1-64 bytes")
	case len(c.Platform) > 64:
		return c, wrong("Platform", "must be at most 64 bytes")
	case !slices.Contains([]string{"", protocol.RecentsOn, protocol.RecentsQuiet, protocol.RecentsOff}, c.Recents):
		return c, wrong("Recents", "must be empty, on, quiet or off")
	case len(c.Resume.Groups) > protocol.MaxLoginGroups:
		return c, wrong("Resume", "must have at most %d groups", protocol.MaxLoginGroups)
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/v1/ws"
	}
	c.URL = u.String()
	if c.Recents == "" {
		c.Recents = protocol.RecentsOn
	}
	if c.HTTPClient == nil {
		c.HTTPClient = http.DefaultClient
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	for _, f := range []struct {
		name  string
		value *int
		zero  int
	}{
		{"QueueMessages", &c.QueueMessages, 1000},
		{"QueueBytes", &c.QueueBytes, 4 << 20},
	} {
		if *f.value < 0 {
			return c, wrong(f.name, "must not be negative")
		}
		if *f.value == 0 {
			*f.value = f.zero
		}
	}
	for _, f := range []struct {
		name  string
		value *time.Duration
		zero  time.Duration
	}{
		{"LoginTimeout", &c.LoginTimeout, 10 * time.Second},
		{"WriteTimeout", &c.WriteTimeout, 10 * time.Second},
		{"PingInterval", &c.PingInterval, 25 * time.Second},
		{"PingTimeout", &c.PingTimeout, 10 * time.Second},
		{"MinBackoff", &c.MinBackoff, 250 * time.Millisecond},
		{"MaxBackoff", &c.MaxBackoff, 30 * time.Second},
	} {
		if *f.value < 0 {
			return c, wrong(f.name, "must not be negative")
		}
		if *f.value == 0 {
			*f.value = f.zero
		}
	}
	return c, nil
}
