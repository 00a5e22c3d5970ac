package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"
	"golang.org/x/net/netutil"

	"github.com/belfry-im/belfry/cmd/belfry/internal/cli"
	"github.com/belfry-im/belfry/gateway"
	"github.com/belfry-im/belfry/gateway/admin"
	"github.com/belfry-im/belfry/gateway/console"
	"github.com/belfry-im/belfry/raftstore"
	"github.com/belfry-im/belfry/raftstore/placement"
)

const (
	// exitRemoved is the exit code of a node that was removed from its cluster: to start
	// it again would be of no use.
	exitRemoved = 3
	// drainTime bounds how long a stop waits for sessions to close, once
	// --drain-spread is over.
	drainTime = 10 * time.Second
	// readyPoll is how often a starting server checks whether it can serve.
	readyPoll = 10 * time.Millisecond
	// maxHeader bounds an HTTP request's headers: tokens travel in frames.
	maxHeader = 16 << 10
	// exchangeTime bounds how long the body of an HTTP request may take to come,
	// and how long its answer may take to leave.
	exchangeTime = 30 * time.Second
	// httpIdle bounds how long an HTTP connection that is no WebSocket may be idle.
	httpIdle = 30 * time.Second
	// maxAdminConnections bounds the connections to --admin-listen: others wait.
	maxAdminConnections = 128
)

func newServeCommand() *cobra.Command {
	var o serveOptions
	var untilEOF bool
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the server",
		Long: `Run the server until SIGTERM or SIGINT, then drain and exit with 0. A second
signal ends it at once. A node that was removed from its cluster ends by itself, with 3.

When it can serve it prints one line to stdout,

  ready listen=127.0.0.1:8080 admin=127.0.0.1:8081

with the addresses it has. The log goes to stderr. The administration API
describes itself at /docs and /openapi.json of --admin-listen.

Files with secrets, keys, certificates and admin tokens are read again when they
change and at SIGHUP. What is withdrawn is refused within a second: sessions whose
token it has signed are closed with 4401, the others go on. If something is wrong
with a file, all stays as it was, and the log says why.

Each flag is also a variable (--offline-ttl is BELFRY_OFFLINE_TTL) and a key of
the YAML file that --config names (offline-ttl). A flag wins over a variable, a
variable over the file.`,
		Example: `  belfry serve --dev
  belfry serve --auth-secret-file auth.secret --admin-token-file admin.tokens --data /var/lib/belfry
  belfry serve --config belfry.yaml --offline-ttl 72h --offline-max-bytes 512KiB
  BELFRY_LISTEN=127.0.0.1:9000 belfry serve --dev`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(cmd.Flags().Changed); err != nil {
				return err
			}
			o.settings = settingsOf(cmd.Flags())
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, os.Interrupt)
			defer stop()
			// After the first signal the next one has its usual effect again.
			context.AfterFunc(ctx, stop)
			if untilEOF {
				go func() { // as long as the process lives
					_, _ = io.Copy(io.Discard, cmd.InOrStdin())
					stop()
				}()
			}
			err := serve(ctx, &o, cmd.OutOrStdout(), newLogger(cmd.ErrOrStderr(), o.logLevel, o.logFormat))
			if errors.Is(err, placement.ErrRemoved) {
				return cli.Exit(exitRemoved, err)
			}
			return err
		},
	}
	o.bind(cmd.Flags())
	cmd.Flags().BoolVar(&untilEOF, cli.UntilEOFFlag, false, "stop when stdin ends")
	if err := cmd.Flags().MarkHidden(cli.UntilEOFFlag); err != nil {
		panic(err) // there is no such flag
	}
	return cmd
}

func newLogger(w io.Writer, level, format string) *slog.Logger {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		panic(err) // the flag takes only names of levels
	}
	options := &slog.HandlerOptions{Level: l}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// listenAt listens at the address of a flag, which its error names, with the variable
// that takes another port where there is no command line to change, as under make.
func listenAt(flag, address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		host, _, _ := net.SplitHostPort(address)
		return nil, fmt.Errorf("--%s: %w; for another port give --%s or the variable, as %s=%s", flag, err, flag, cli.EnvName(flag), net.JoinHostPort(host, "PORT"))
	}
	if err != nil {
		return nil, fmt.Errorf("--%s: %w", flag, err)
	}
	return l, nil
}

// serve runs the server until ctx ends, then drains it.
func serve(ctx context.Context, o *serveOptions, stdout io.Writer, log *slog.Logger) (err error) {
	restrictFiles()
	if o.dev {
		if err := o.makeSecret(); err != nil {
			return err
		}
	}
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP) // which would end the process
	defer signal.Stop(hangups)
	in := o.sources()
	auth, adminTokens, err := o.readCredentials(in, log)
	if err != nil {
		return err
	}
	listen, err := listenAt("listen", o.listen)
	if err != nil {
		return err
	}
	defer listen.Close()
	adminListen, err := listenAt("admin-listen", o.adminListen)
	if err != nil {
		return err
	}
	defer adminListen.Close()

	running, stop := context.WithCancel(context.Background())
	var background sync.WaitGroup
	var opened atomic.Pointer[raftstore.Store] // nil until there is a store
	background.Go(func() {
		paceGC(running, func() bool { s := opened.Load(); return s != nil && s.CatchingUp() })
	})
	defer func() { stop(); background.Wait() }()

	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	var faults faults
	config := o.storeConfig(log, registry)
	config.MemoryLimit = o.limitMemory(log)
	connectionMemory := o.connectionLimit(config.MemoryLimit)
	if config.ReservedMemory, err = reservedMemory(config.MemoryLimit, connectionMemory); err != nil {
		return err
	}
	hooks, closeHooks, err := o.webhooks.open(o, in.webhooks, log, registry)
	if err != nil {
		return err
	}
	defer closeHooks()
	if hooks != nil {
		config.Hooks, config.HookBytes, config.QueuedAfter = hooks, o.webhooks.storedBytes, o.webhooks.queuedAfter
	}
	faults.configure(&config)
	// Who watches over the process can ask it while it reads its log.
	var serving lateHandler
	operations := newHTTPServer(&serving, o.loginTimeout, log)
	defer operations.Close()
	ended := make(chan error, 3)
	go func() {
		ended <- in.serve(operations, netutil.LimitListener(adminListen, maxAdminConnections), in.adminCertificate)
	}()
	backend, err := openBackend(config, o.cluster.config())
	if err != nil {
		return err
	}
	store := backend.store
	opened.Store(store)
	defer func() { err = errors.Join(err, backend.Close()) }()
	defer closeHooks() // before the store: it notes what was delivered
	inspected := backend.inspected(o.node, o.settings)
	administration, err := admin.New(o.adminConfig(backend, inspected, adminTokens, log))
	if err != nil {
		return err
	}
	edgeConfig := o.gatewayConfig(backend, inspected, connectionMemory, hooks, auth, administration, adminTokens, log, registry)
	if edgeConfig.Console, err = o.openConsole(); err != nil {
		return err
	}
	if edgeConfig.Operator, err = console.New(console.Config{Page: console.Operator}); err != nil {
		return err
	}
	edge, err := gateway.New(edgeConfig)
	if err != nil {
		return err
	}

	in.auth.take = func(contents [][]byte) error {
		auth, err := o.authConfig(contents)
		if err != nil {
			return err
		}
		return edge.SetAuth(auth.Secrets, auth.JWKS)
	}
	reload := newReloader(log, registry, in.auth, in.admins, in.webhooks, in.tls, in.adminTLS)
	background.Go(func() { reload.run(running, hangups) })

	clients := newHTTPServer(edge.Handler(), o.loginTimeout, log)
	serving.set(faults.handler(edge.AdminHandler(), edge.RequireAdmin, store))
	go func() { ended <- clients.Serve(edge.Listener(listen, in.certificate.config())) }()
	log.Info("listening", "listen", listen.Addr().String(), "admin", adminListen.Addr().String(), "data", o.data)

	o.warnOfClearText(log)

	background.Go(func() {
		select {
		case <-running.Done():
		case <-backend.failed:
			ended <- backend.failure()
		}
	})
	err = waitReady(ctx, backend.ready, ended, log)
	if err == nil && ctx.Err() == nil {
		fmt.Fprintf(stdout, "ready listen=%s admin=%s\n", listen.Addr(), adminListen.Addr())
		if o.dev {
			err = o.printDev(stdout, listen.Addr().String(), adminListen.Addr().String())
		}
	}
	if err == nil {
		select {
		case <-ctx.Done():
		case err = <-ended:
		}
	}

	log.Info("draining")
	drain, cancel := context.WithTimeout(context.Background(), o.drainSpread+drainTime)
	defer cancel()
	var handing sync.WaitGroup
	handing.Go(func() {
		if err := store.Drain(drain); err != nil {
			log.Warn("leaderships were not handed over", "error", err)
		}
	})
	if cut := edge.Shutdown(drain); cut != nil {
		log.Warn("sessions were cut", "error", cut)
	}
	handing.Wait()
	return errors.Join(err, clients.Close(), operations.Close())
}

// A lateHandler serves gateway.Starting until it is set to another handler.
type lateHandler struct{ handler atomic.Pointer[http.Handler] }

func (h *lateHandler) set(to http.Handler) { h.handler.Store(&to) }

func (h *lateHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if handler := h.handler.Load(); handler != nil {
		(*handler).ServeHTTP(w, r)
		return
	}
	gateway.Starting().ServeHTTP(w, r)
}

// waitReady returns when the store serves, ctx ends, or a listener fails. With a
// stopped shard the store never becomes ready: waitReady then goes on waiting,
// while the other shards serve.
func waitReady(ctx context.Context, ready func() error, ended <-chan error, log *slog.Logger) error {
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	for logged := false; ; {
		reason := ready()
		if reason == nil {
			return nil
		}
		if !logged {
			log.Warn("not ready", "reason", reason)
			logged = true
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		case err := <-ended:
			return err
		}
	}
}

func newHTTPServer(h http.Handler, headerTimeout time.Duration, log *slog.Logger) *http.Server {
	// The server upgrades no HTTP/2 request to a WebSocket, so a listener with TLS
	// must not offer HTTP/2.
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	return &http.Server{
		Protocols:         &protocols,
		Handler:           withinTime(h, exchangeTime),
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       httpIdle,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// withinTime bounds how long a request's body may take to come and its answer to
// leave. Without these deadlines the server itself would wait forever for a body
// that the handler has not read. A handler that takes longer sets its own
// deadlines, and one that takes over the connection has none.
func withinTime(next http.Handler, within time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		// A read deadline that passes without a body would end the request.
		if r.Body != nil && r.Body != http.NoBody {
			_ = control.SetReadDeadline(time.Now().Add(within))
		}
		_ = control.SetWriteDeadline(time.Now().Add(within))
		next.ServeHTTP(w, r)
	})
}
