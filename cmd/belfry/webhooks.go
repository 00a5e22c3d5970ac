package main

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/pflag"

	"github.com/belfry-im/belfry/cmd/belfry/internal/cli"
	"github.com/belfry-im/belfry/gateway/hooks"
	"github.com/belfry-im/belfry/gateway/webhook"
)

// webhookDrain bounds how long a stop waits for events to be delivered.
const webhookDrain = 3 * time.Second

// webhookOptions hold the flags of serve about webhooks.
type webhookOptions struct {
	url        string
	events     []string
	secretFile string
	failOpen   bool
	allowHTTP  bool

	timeout, askTimeout, maxAge, queuedAfter time.Duration
	queueEvents, queueBytes, storedBytes     int
}

func (w *webhookOptions) bind(fs *pflag.FlagSet) {
	fs.StringVar(&w.url, "webhook-url", "", "where events are posted to; https, or http on this machine")
	fs.StringSliceVar(&w.events, "webhook-events", nil, "which events; default all: "+strings.Join(webhook.Events, ", "))
	fs.StringVar(&w.secretFile, "webhook-secret-file", "", "file with the secrets that events are signed with, whsec_…, one per line")
	fs.BoolVar(&w.failOpen, "webhook-fail-open", false, "accept a message when the receiver of message.beforeSend gives no decision")
	fs.BoolVar(&w.allowHTTP, "webhook-allow-http", false, "let --webhook-url be http on another machine: events cross the network in the clear")
	w.timeout = 10 * time.Second
	fs.Var(cli.Duration(&w.timeout, time.Millisecond), "webhook-timeout", "within which an event has to be answered")
	w.askTimeout = 2 * time.Second
	fs.Var(cli.Duration(&w.askTimeout, time.Millisecond), "webhook-before-send-timeout", "within which message.beforeSend has to be answered")
	w.maxAge = time.Hour
	fs.Var(cli.Duration(&w.maxAge, time.Second), "webhook-max-age", "how long after it happened an event is still tried again")
	w.queuedAfter = 10 * time.Second
	fs.Var(cli.Duration(&w.queuedAfter, time.Millisecond), "webhook-queued-after", "how long message.queued waits for a session in the foreground to ack the message")
	w.queueEvents = 10_000
	fs.Var(cli.Count(&w.queueEvents, 1, 1e7), "webhook-queue", "events that wait to be delivered; further ones are dropped")
	w.queueBytes = 16 << 20
	fs.Var(cli.Size(&w.queueBytes, 64<<10, 1<<32), "webhook-queue-bytes", "bytes of them")
	w.storedBytes = 16 << 20
	fs.Var(cli.Size(&w.storedBytes, 64<<10, 1<<30), "webhook-stored-bytes", "what a shard keeps of messages that message.queued is still to tell of, some 40 bytes each; past it the oldest go")
}

// check returns an error for flags that contradict each other.
func (w *webhookOptions) check() error {
	if w.url == "" {
		for flag, set := range map[string]bool{
			"webhook-events": len(w.events) > 0, "webhook-secret-file": w.secretFile != "",
			"webhook-fail-open": w.failOpen, "webhook-allow-http": w.allowHTTP,
		} {
			if set {
				return cli.Usagef("--%s: want --webhook-url with it", flag)
			}
		}
		return nil
	}
	for _, event := range w.events {
		if !slices.Contains(webhook.Events, event) {
			return cli.Usagef("--webhook-events: there is no %q: want some of %s", event, strings.Join(webhook.Events, ", "))
		}
	}
	if err := webhook.CheckURL(w.url, w.allowHTTP); err != nil {
		return cli.Usagef("--webhook-url: %w (or --webhook-allow-http)", err)
	}
	switch {
	case w.secretFile == "":
		return cli.Usagef("--webhook-secret-file: want it with --webhook-url: without, the receiver could tell nobody from anybody")
	case w.failOpen && len(w.events) > 0 && !slices.Contains(w.events, webhook.MessageBeforeSend):
		return cli.Usagef("--webhook-fail-open: is about %s, which is not among --webhook-events", webhook.MessageBeforeSend)
	}
	return nil
}

// source returns the file of webhook secrets, none without --webhook-url.
func (w *webhookOptions) source() *source {
	s := &source{what: "webhook-secret"}
	if w.url != "" {
		s.files = []sourceFile{{"webhook-secret-file", w.secretFile, true}}
	}
	return s
}

// parse parses the contents of the source.
func (w *webhookOptions) parse(contents [][]byte) ([]webhook.Secret, error) {
	secrets, err := webhook.ParseSecrets(contents[0])
	if err != nil {
		return nil, fmt.Errorf("--webhook-secret-file: %s: %w", w.secretFile, err)
	}
	return secrets, nil
}

// open starts the delivery of events. h is nil without --webhook-url. close
// ends the delivery and may be called twice.
func (w *webhookOptions) open(o *serveOptions, from *source, log *slog.Logger, registry *prometheus.Registry) (h *hooks.Hooks, close func(), err error) {
	if w.url == "" {
		return nil, func() {}, nil
	}
	contents, err := from.readFirst(log)
	if err != nil {
		return nil, nil, err
	}
	secrets, err := w.parse(contents)
	if err != nil {
		return nil, nil, err
	}
	client, err := webhook.New(webhook.Config{
		URL: w.url, AllowHTTP: w.allowHTTP, Secrets: secrets, Events: w.events,
		Timeout: w.timeout, AskTimeout: w.askTimeout, MaxAge: w.maxAge,
		QueueEvents: w.queueEvents, QueueBytes: w.queueBytes,
		Log: log, Registerer: registry,
	})
	if err != nil {
		return nil, nil, err
	}
	from.take = func(contents [][]byte) error {
		secrets, err := w.parse(contents)
		if err == nil {
			client.SetSecrets(secrets)
		}
		return err
	}
	close = func() {
		ctx, cancel := context.WithTimeout(context.Background(), webhookDrain)
		defer cancel()
		client.Close(ctx)
	}
	h, err = hooks.New(hooks.Config{
		Receiver: client, FailOpen: w.failOpen, DedupWindow: o.dedupWindow, MaxBody: o.maxBody, Log: log, Registerer: registry,
	})
	if err != nil {
		close()
		return nil, nil, err
	}
	return h, close, nil
}
