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

// Types of events.
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

// Events has all types of events.
var Events = []string{
	MessageBeforeSend, MessageSent, MessageQueued, MessageRead, MessageRecalled, MessageDeleted, UserOnline, UserOffline,
	GroupCreated, GroupJoined, GroupLeft, GroupRemoved, GroupRoleChanged, GroupMuted, GroupChanged,
	GroupDismissed, GroupJoinRequested, GroupOwnerOffered, GroupBanned,
}

// A Config configures a Client. URL and Secrets are required; a zero value
// elsewhere stands for the default.
type Config struct {
	URL string
	// AllowHTTP allows a URL with http to other machines too.
	AllowHTTP bool
	Secrets   []Secret // each signs every request
	Events    []string // types that are sent; default all

	Timeout     time.Duration // of an attempt; default 10 s
	AskTimeout  time.Duration // of an Ask, default 2 s
	MaxAge      time.Duration // of an event when an attempt begins, except for its first; default 1 h
	RetryFirst  time.Duration // pause after the first attempt, doubled after each further one; default 1 s
	RetryMost   time.Duration // longest pause; default 30 s
	Concurrency int           // attempts at a time; default 16
	MaxAsks     int           // Asks at a time; default 64
	QueueEvents int           // events that may wait; default 10,000
	QueueBytes  int           // bytes of the events that wait; default 16 MiB

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

// CheckURL returns what is wrong with a receiver's URL, or nil.
func CheckURL(text string, allowHTTP bool) error {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return errors.New("webhook: URL: is malformed") // err would have the whole URL, with a password perhaps
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
