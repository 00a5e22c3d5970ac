package webhook

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// The events.
const (
	MessageBeforeSend  = "message.beforeSend"
	MessageSent        = "message.sent"
	MessageQueued      = "message.queued"
	MessageRead        = "message.read"
	MessageRecalled    = "message.recalled"
	MessageDeleted     = "message.deleted"
	UserOnline         = "user.online"
	UserOffline        = "user.offline"
	GroupCreated       = "group.created"
	GroupJoined        = "group.joined"
	GroupLeft          = "group.left"
	GroupRemoved       = "group.removed"
	GroupRoleChanged   = "group.roleChanged"
	GroupMuted         = "group.muted"
	GroupChanged       = "group.changed"
	GroupDismissed     = "group.dismissed"
	GroupJoinRequested = "group.joinRequested"
	GroupOwnerOffered  = "group.ownerOffered"
	GroupBanned        = "group.banned"
)

// Events are all there are.
var Events = []string{
	MessageBeforeSend, MessageSent, MessageQueued, MessageRead, MessageRecalled, MessageDeleted, UserOnline, UserOffline,
	GroupCreated, GroupJoined, GroupLeft, GroupRemoved, GroupRoleChanged, GroupMuted, GroupChanged,
	GroupDismissed, GroupJoinRequested, GroupOwnerOffered, GroupBanned,
}

// A Config says where events go. URL and Secrets are required; a zero field
// elsewhere is its default.
type Config struct {
	URL string
	// AllowHTTP lets URL be plain http to another machine than this.
	AllowHTTP bool
	Secrets   []Secret // requests are signed with each
	Events    []string // that are sent; default all

	Timeout     time.Duration // of an attempt; default 10 s
	AskTimeout  time.Duration // of an Ask, default 2 s
	MaxAge      time.Duration // from the event to the last attempt, but for the first one; default 1 h
	RetryFirst  time.Duration // pause after the first attempt, twice that after each further one; default 1 s
	RetryMost   time.Duration // of the pause; default 30 s
	Concurrency int           // attempts at a time; default 16
	MaxAsks     int           // Asks at a time; default 64
	QueueEvents int           // that wait, at most; default 10,000
	QueueBytes  int           // of them; default 16 MiB

	Log        *slog.Logger          // nil discards
	Registerer prometheus.Registerer // nil: metrics are kept and not registered
}

func (c *Config) fill() error {
	if err := CheckURL(c.URL, c.AllowHTTP); err != nil {
		return err
	}
	if len(c.Secrets) == 0 {
		return errors.New("webhook: Secrets: want one")
	}
	if len(c.Events) == 0 {
		c.Events = Events
	}
	for _, event := range c.Events {
		if !slices.Contains(Events, event) {
			return fmt.Errorf("webhook: Events: there is no %q", event)
		}
	}
	for _, f := range []struct {
		name         string
		value        *time.Duration
		defaultValue time.Duration
	}{
		{"Timeout", &c.Timeout, 10 * time.Second},
		{"AskTimeout", &c.AskTimeout, 2 * time.Second},
		{"MaxAge", &c.MaxAge, time.Hour},
		{"RetryFirst", &c.RetryFirst, time.Second},
		{"RetryMost", &c.RetryMost, 30 * time.Second},
	} {
		if *f.value == 0 {
			*f.value = f.defaultValue
		}
		if *f.value < 0 {
			return fmt.Errorf("webhook: %s is %v, want > 0", f.name, *f.value)
		}
	}
	for _, f := range []struct {
		name         string
		value        *int
		defaultValue int
	}{
		{"Concurrency", &c.Concurrency, 16},
		{"MaxAsks", &c.MaxAsks, 64},
		{"QueueEvents", &c.QueueEvents, 10_000},
		{"QueueBytes", &c.QueueBytes, 16 << 20},
	} {
		if *f.value == 0 {
			*f.value = f.defaultValue
		}
		if *f.value < 0 {
			return fmt.Errorf("webhook: %s is %d, want > 0", f.name, *f.value)
		}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

// CheckURL tells what is wrong with the URL of a receiver.
func CheckURL(text string, allowHTTP bool) error {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return errors.New("webhook: URL: is malformed") // err would repeat its password
	case u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return errors.New("webhook: URL: want https://host/path")
	case u.Scheme == "http" && !allowHTTP && !isLoopback(u.Hostname()):
		return fmt.Errorf("webhook: URL: want https, because messages would go to %s in the clear", u.Hostname())
	}
	return nil
}

func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}
