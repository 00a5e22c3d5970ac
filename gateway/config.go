package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/belfry-im/belfry/gateway/admin"
	"github.com/belfry-im/belfry/gateway/admission"
	"github.com/belfry-im/belfry/gateway/auth"
	"github.com/belfry-im/belfry/gateway/hooks"
	"github.com/belfry-im/belfry/gateway/inspect"
	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/shard/command"
)

// A Backlog is a limit on messages, in number and bytes.
type Backlog struct {
	Messages int
	Bytes    int // as stored
}

// A Config configures a gateway. Backend and Auth are required; the zero value of
// another field stands for its default. A negative value switches a limit off, if the
// comment says so.
type Config struct {
	Backend Backend
	Auth    auth.Config
	// AdminTokens are accepted by the operations listener. If they are nil, a dev
	// server accepts everybody there, and any other server nobody.
	AdminTokens *admin.Tokens
	// SafeToStop returns why this node must not be stopped now, none if it may; nil: it is
	// in no cluster.
	SafeToStop func(context.Context) (reasons []string, err error)
	// Administration serves the other paths of the operations listener, and checks
	// tokens itself. If it is nil, there are no other paths.
	Administration http.Handler
	// Operator serves the operator page below OperatorPath of the operations listener: files
	// that anybody may have. If it is nil, there is none.
	Operator http.Handler
	// Console serves all paths of the clients' listener but /v1/ws; nil: there are none.
	Console http.Handler

	// Inspect is given the gateway as what knows of its sessions; nil: nobody looks at them.
	Inspect *inspect.Local

	// Dev makes both listeners refuse requests that name another host than this
	// machine. A page whose name is made to lead here (DNS rebinding) then gets no
	// answer.
	Dev bool
	// AllowedOrigins are the browser origins served beside the server's own
	// host: "app.example.com" or "https://*.example.com".
	AllowedOrigins []string
	// KnownUsersOnly refuses sends to users who never logged in.
	KnownUsersOnly bool
	Policy         command.Policy // which sessions of the user a login ends

	MaxBody     int // most bytes of a message body as stored; default 12 KiB
	Window      int // most unacked frames of a session; default 256
	WindowBytes int // most unacked bytes of a session; default 1 MiB
	// LoginBacklog limits which messages of groups a login pushes; default 1,000
	// messages and 1 MiB. The client gets others with getMessage.
	LoginBacklog Backlog

	LoginTimeout   time.Duration // from the upgrade to the login; default 10 s
	IdleTimeout    time.Duration // without a sign of life until the session is closed; default 60 s
	AckTimeout     time.Duration // with a full window and no ack until the session is closed; default 30 s
	StallTimeout   time.Duration // from a push without an ack until the app counts as away; default 10 s
	WriteTimeout   time.Duration // of one write; default 10 s
	CloseTimeout   time.Duration // for the close frame and the client's answer; default 1 s
	FrameTimeout   time.Duration // for the rest of a frame or message that has begun; default 30 s
	RequestTimeout time.Duration // of a request that waits for the store; default 10 s
	DrainSpread    time.Duration // over which Shutdown spreads the closing of many sessions; default 5 s, negative = at once

	MaxGroups      int // that a user may be in; default 1000, negative = off
	MaxOwnedGroups int // that a user may own; default 100, negative = off

	FrameRate        int // frames per second and connection; default 2000, negative = off
	FrameBurst       int // default 5000
	LoginRate        int // logins per second and user; default 20, negative = off
	LoginBurst       int // default 100
	SendRate         int // sends per second and user, of all their sessions; default 200, negative = off
	SendBurst        int // default 2000
	GroupChangeRate  int // changes of groups per second and user; default 20, negative = off
	GroupChangeBurst int // default 1000

	Admission admission.Config // limits of connections; the zero value sets none
	Proxies   admission.Proxies

	Hooks *hooks.Hooks // nil: there is no receiver of webhooks

	Log      *slog.Logger         // nil discards
	Registry *prometheus.Registry // gets the gateway's metrics and serves /metrics; nil makes a new one
}

func (c *Config) fill() error {
	if c.Backend == nil {
		return errors.New("gateway: Backend is not set")
	}
	for _, f := range []struct {
		name         string
		value        *int
		defaultValue int
		mayBeOff     bool
	}{
		{"MaxBody", &c.MaxBody, protocol.DefaultMaxBody, false},
		{"Window", &c.Window, 256, false},
		{"WindowBytes", &c.WindowBytes, 1 << 20, false},
		{"MaxGroups", &c.MaxGroups, 1000, true},
		{"MaxOwnedGroups", &c.MaxOwnedGroups, 100, true},
		{"LoginBacklog.Messages", &c.LoginBacklog.Messages, 1000, false},
		{"LoginBacklog.Bytes", &c.LoginBacklog.Bytes, 1 << 20, false},
		{"FrameRate", &c.FrameRate, 2000, true},
		{"FrameBurst", &c.FrameBurst, 5000, false},
		{"LoginRate", &c.LoginRate, 20, true},
		{"LoginBurst", &c.LoginBurst, 100, false},
		{"SendRate", &c.SendRate, 200, true},
		{"SendBurst", &c.SendBurst, 2000, false},
		{"GroupChangeRate", &c.GroupChangeRate, 20, true},
		{"GroupChangeBurst", &c.GroupChangeBurst, 1000, false},
	} {
		if *f.value == 0 {
			*f.value = f.defaultValue
		}
		if *f.value < 0 && !f.mayBeOff {
			return fmt.Errorf("gateway: %s is %d, want > 0", f.name, *f.value)
		}
	}
	for _, f := range []struct {
		name         string
		value        *time.Duration
		defaultValue time.Duration
	}{
		{"LoginTimeout", &c.LoginTimeout, 10 * time.Second},
		{"IdleTimeout", &c.IdleTimeout, 60 * time.Second},
		{"AckTimeout", &c.AckTimeout, 30 * time.Second},
		{"StallTimeout", &c.StallTimeout, 10 * time.Second},
		{"WriteTimeout", &c.WriteTimeout, 10 * time.Second},
		{"CloseTimeout", &c.CloseTimeout, time.Second},
		{"FrameTimeout", &c.FrameTimeout, 30 * time.Second},
		{"RequestTimeout", &c.RequestTimeout, 10 * time.Second},
	} {
		if *f.value == 0 {
			*f.value = f.defaultValue
		}
		if *f.value < 0 {
			return fmt.Errorf("gateway: %s is %v, want > 0", f.name, *f.value)
		}
	}
	if c.DrainSpread == 0 {
		c.DrainSpread = 5 * time.Second
	}
	if c.MaxBody > protocol.LargestBody {
		return fmt.Errorf("gateway: MaxBody is %d, want at most %d", c.MaxBody, protocol.LargestBody)
	}
	for _, o := range c.AllowedOrigins {
		if err := auth.CheckOrigin(o); err != nil {
			return fmt.Errorf("gateway: AllowedOrigins: %w", err)
		}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Registry == nil {
		c.Registry = prometheus.NewRegistry()
	}
	if c.AdminTokens == nil && c.Dev {
		c.AdminTokens = admin.OpenTokens()
	}
	return nil
}
