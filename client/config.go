package client

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// Config describes a client and the handlers that it calls. URL, Token, and Device or
// Store are needed; everything else is usable when zero.
//
// The On… functions are the handlers; what a nil one would be called with is
// ignored. Handlers are called one at a time, from one goroutine. While one runs,
// the server holds back further messages; no message is lost if it takes long.
type Config struct {
	// URL of the server: ws, wss, http or https. Without a path it gets /v1/ws.
	URL string
	// MoreURLs are those of the server's other nodes, in the same form. The client
	// begins with any of all of them, and takes the next one for each further attempt.
	MoreURLs []string
	// Token returns a token of the user, and is told why it is asked. It is called for
	// every login and whenever the last token is about to expire. After an error the
	// client tries again, as after a broken connection; ErrUnauthorized ends it. So does,
	// when asked because the server has refused a token, that very token: there is no
	// other. Any other one is tried, after pauses that grow. Token has to return when its
	// context ends.
	Token func(context.Context, TokenReason) (string, error)
	// Device names this terminal of the user, 1-64 bytes, the same every time. A
	// second client with the same device ends the first. With a Store it may be empty: the
	// name that the store has, and a new store makes one up.
	Device   string
	Platform string // "phone", "web" …, at most 64 bytes; for the server's session policy

	Codec protocol.Codec // protocol.JSON (the zero value) or protocol.Msgpack
	// ManualRead makes ReadReport the only thing that marks one-to-one messages
	// as read. Without it, messages are read once their handler has returned.
	ManualRead bool
	// Recents is protocol.RecentsOn, also when empty: OnSynced lists the recent
	// conversations and OnMessages gets the last message of each; or
	// protocol.RecentsQuiet: only the list; or protocol.RecentsOff: neither.
	Recents string
	// Store opens what the client keeps on this device: File, Memory, or WithoutStorage,
	// which is nil. The client closes it at its end: see Done.
	Store OpenStore
	// Service names the server whose data the Store holds, so that those of two are never
	// mixed; empty = the host in URL. With several URLs, or if they may change, name it.
	Service string
	// Resume is the Cursor with which this device's last client ended. Zero = a
	// new device. With a Store it has to be zero: the store has the cursor.
	Resume Cursor

	// QueueMessages bounds the sends that have no answer yet, which are many
	// while there is no connection; 0 = 1000. QueueBytes bounds the sum of their
	// bodies; 0 = 4 MiB. Sends beyond either get ErrQueueFull.
	QueueMessages int
	QueueBytes    int

	LoginTimeout time.Duration // for one attempt to connect and log in; 0 = 10s
	WriteTimeout time.Duration // for one frame; 0 = 10s
	// PingInterval is how long the server may be silent before the client pings
	// it; 0 = 25s. If nothing comes within PingTimeout, 0 = 10s, the client
	// connects anew.
	PingInterval time.Duration
	PingTimeout  time.Duration
	// The pause before the n-th attempt to connect is random, between 0 and
	// min(MaxBackoff, MinBackoff×2ⁿ). 0 = 250ms and 30s.
	MinBackoff time.Duration
	MaxBackoff time.Duration

	HTTPClient *http.Client // for proxies and TLS; nil = http.DefaultClient
	Log        *slog.Logger // nil discards

	OnMessages func([]Message) // 1-100 in order, none of them seen before
	// OnInterrupted gets, before all else, the messages whose OnMessages had begun and not
	// returned when an earlier process ended: it may have done its work, so compare with
	// its results. Nil = OnMessages is called with them again. See Exactly once.
	OnInterrupted func([]Message)
	// OnSent is called with the outcome of each message in the outbox on disk, also if it
	// was queued by an earlier process.
	OnSent                func(Sent)
	OnSynced              func(Synced) // comes after all else that a login pushes
	OnReadReport          func(ReadReport)
	OnReadReceipt         func(ReadReceipt)
	OnRecall              func(Recall)
	OnMessagesDeleted     func(MessagesDeleted)
	OnConversationDeleted func(ConversationDeleted)
	OnConversationChanged func(ConversationChanged) // the user changed its settings, on any device
	OnBlocked             func(Blocked)             // the user blocked or unblocked somebody, on any device
	OnGroupEvent          func(GroupEvent)
	OnTyping              func(Typing)
	OnPresence            func(Presence)
	// OnSkipped reports how many messages of live groups the server left out because
	// this session was too slow.
	OnSkipped func(n int)
	// OnState is called when the client's state changes. States that pass while
	// another handler runs may be left out; the last one never is.
	OnState func(State)
	// OnKicked comes before StateClosed when the server has ended the client.
	OnKicked func(reason string)
}

// A TokenReason is why Config.Token is asked.
type TokenReason string

const (
	TokenLogin    TokenReason = "login"    // for a login; the last token may still be good
	TokenExpiring TokenReason = "expiring" // the last token is about to expire, or RefreshToken was called
	TokenRefused  TokenReason = "refused"  // the server took the last token no more: only a fresh one helps
)

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

// serverURL returns the URL in a field with a path, or an error that names the field.
func serverURL(field, text string) (string, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return "", wrong(field, "must parse: %v", err)
	case u.Scheme != "ws" && u.Scheme != "wss" && u.Scheme != "http" && u.Scheme != "https":
		return "", wrong(field, "must begin with ws, wss, http or https")
	case u.Host == "":
		return "", wrong(field, "must name a host")
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/v1/ws"
	}
	return u.String(), nil
}

// withDefaults replaces zero fields by their defaults and returns an error if a
// field is out of range.
func (c Config) withDefaults() (Config, error) {
	var err error
	if c.URL, err = serverURL("URL", c.URL); err != nil {
		return c, err
	}
	c.MoreURLs = slices.Clone(c.MoreURLs)
	for i, u := range c.MoreURLs {
		if c.MoreURLs[i], err = serverURL("MoreURLs", u); err != nil {
			return c, err
		}
	}
	switch {
	case c.Token == nil:
		return c, wrong("Token", "must be set")
	case c.Device == "" && c.Store == nil:
		return c, wrong("Device", "must be set without a Store, which makes one up: give Device or Store")
	case len(c.Device) > 64 || !utf8.ValidString(c.Device):
		return c, wrong("Device", "must be UTF-8 of at most 64 bytes")
	case !utf8.ValidString(c.Service):
		return c, wrong("Service", "must be UTF-8")
	case c.Store != nil && (c.Resume.Since != "" || len(c.Resume.Groups) > 0):
		return c, wrong("Resume", "must be zero with a Store")
	case len(c.Platform) > 64:
		return c, wrong("Platform", "must be at most 64 bytes")
	case !slices.Contains([]string{"", protocol.RecentsOn, protocol.RecentsQuiet, protocol.RecentsOff}, c.Recents):
		return c, wrong("Recents", "must be empty, on, quiet or off")
	case len(c.Resume.Groups) > protocol.MaxLoginGroups:
		return c, wrong("Resume", "must have at most %d groups", protocol.MaxLoginGroups)
	}
	if c.Service == "" {
		u, _ := url.Parse(c.URL) // parsed before
		c.Service = u.Host
	}
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
