package main

import (
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/spf13/pflag"

	"github.com/belfry-im/belfry/cmd/belfry/internal/cli"
	"github.com/belfry-im/belfry/gateway/auth"
	"github.com/belfry-im/belfry/gateway/inspect"
	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/raftstore"
)

// serveOptions holds the flags of serve. Their defaults are those of
// docs/semantics.md.
type serveOptions struct {
	dev     bool
	console bool
	// consoleTokens has the console give tokens of a secret that --dev has not made.
	consoleTokens bool
	config        string

	listen, adminListen string
	tlsCert, tlsKey     string

	adminTLSCert, adminTLSKey string
	adminInsecure             bool

	data        string
	node        string
	shards      int
	raftLog     string
	clockSettle time.Duration
	diskReserve int
	outboxBytes int
	memoryLimit int

	authSecretFiles           []string // the newest secret first
	authJWKS                  string
	authAudience, authIssuer  string
	authLeeway                time.Duration
	adminTokenFile            string
	allowedOrigins            []string
	openUsers                 bool
	offlineTTL                time.Duration
	offlineMaxMessages        int
	offlineMaxBytes           int
	historyTTL                time.Duration
	userBytes                 int
	recents                   int
	dedupWindow               time.Duration
	recallWindow              time.Duration
	maxBody                   int
	maxDevices                int
	sessionPolicy             string
	windowFrames, windowBytes int
	backlogMessages           int
	backlogBytes              int
	newConversations          int

	groupBytes                          int
	groupMessageRate, groupMessageBurst int
	maxGroups, maxOwnedGroups           int

	frameRate, frameBurst             int
	loginRate, loginBurst             int
	sendRate, sendBurst               int
	groupChangeRate, groupChangeBurst int
	addressRate                       int
	addressConnections                int
	addressUnauthenticated            int
	unauthenticated                   int
	connectionMemory                  int
	trustedProxies                    []netip.Prefix
	proxyProtocol                     bool

	loginTimeout, idleTimeout, ackTimeout, stallTimeout, writeTimeout, frameTimeout, drainSpread time.Duration

	cluster  clusterOptions
	webhooks webhookOptions

	logLevel, logFormat string

	settings []inspect.Setting // those that are not the default
}

const defaultListen = ":8080"

// bind declares the flags of serve on fs, with their defaults.
func (o *serveOptions) bind(fs *pflag.FlagSet) {
	fs.BoolVar(&o.dev, "dev", false, "for development: loopback only, makes its own secrets, prints tokens to try with")
	fs.BoolVar(&o.console, "console", false, "serve the web console at / of --listen (with --dev true)")
	fs.BoolVar(&o.consoleTokens, "console-tokens", false, "with --dev: let whoever opens the console be any user, by tokens that --auth-secret-file signs; that is so with the secret that --dev makes")
	fs.StringVar(&o.config, cli.ConfigFlag, "", "YAML file with any of these settings")

	fs.StringVar(&o.listen, "listen", defaultListen, "address for clients; port 0 takes a free one (with --dev "+cli.DevListen+")")
	fs.StringVar(&o.adminListen, "admin-listen", cli.AdminListen, "address for administration, health and metrics")
	fs.StringVar(&o.tlsCert, "tls-cert", "", "PEM file with the certificate chain for --listen")
	fs.StringVar(&o.tlsKey, "tls-key", "", "PEM file with its key")

	fs.StringVar(&o.adminTLSCert, "admin-tls-cert", "", "PEM file with the certificate chain for --admin-listen")
	fs.StringVar(&o.adminTLSKey, "admin-tls-key", "", "PEM file with its key")
	fs.BoolVar(&o.adminInsecure, "admin-insecure", false, "let --admin-listen be on another address than a loopback one without TLS: admin tokens cross the network in the clear")

	fs.StringVar(&o.data, "data", cli.DefaultData, "folder for all data")
	fs.StringVar(&o.node, "node", "node", "name of this node")
	o.cluster.bind(fs)
	fs.Var(cli.Count(&o.shards, 0, 64), "shards", "number of shards; 0 = as many as the data folder has, in a new one 1, in a new cluster one for each node that begins it")
	o.raftLog = raftstore.RaftLogWAL
	fs.Var(cli.Choice(&o.raftLog, raftstore.RaftLogWAL, raftstore.RaftLogBolt, raftstore.RaftLogShared), "raft-log", "how logs are kept on disk")
	o.clockSettle = 10 * time.Minute
	fs.Var(cli.Duration(&o.clockSettle, time.Second), "clock-settle", "how long a wall clock that jumped has to stand before a single node follows it")
	o.diskReserve = 1 << 30
	fs.Var(cli.Size(&o.diskReserve, 0, 1<<50), "disk-reserve", "free space on disk below which sends are refused; 0 = no limit")
	o.outboxBytes = 64 << 20
	fs.Var(cli.Size(&o.outboxBytes, 64<<10, 1<<40), "outbox-bytes", "what may wait for a destination that is down")
	o.memoryLimit = cli.AutoMemory
	fs.Var(cli.MemorySize(&o.memoryLimit, cli.LeastMemory), "memory-limit", "memory of the process: near it messages are kept for less time, then sends are refused; auto = 75 % of what there is, 0 = no limit")
	o.connectionMemory = cli.AutoMemory
	fs.Var(cli.MemorySize(&o.connectionMemory, leastConnectionMemory), "connection-memory", "part of it that connections may take, before some are refused and closed; auto = a fifth, 0 = no limit")

	fs.StringSliceVar(&o.authSecretFiles, "auth-secret-file", nil, "file with a secret of HS256/384/512 tokens, 32 bytes or more; several while one takes the place of another, the new one first")
	fs.StringVar(&o.authJWKS, "auth-jwks", "", "JWKS file with the public keys of RS/ES/EdDSA tokens")
	fs.StringVar(&o.authAudience, "auth-audience", "", "the aud that tokens must have; required with --auth-jwks")
	fs.StringVar(&o.authIssuer, "auth-issuer", "", "the iss that tokens must have; required with --auth-jwks")
	o.authLeeway = 5 * time.Second
	fs.Var(cli.Duration(&o.authLeeway, 0), "auth-leeway", "how far nbf and iat of a token may lie ahead")
	fs.StringVar(&o.adminTokenFile, "admin-token-file", "", "file with the tokens of administrators: lines of a token of 16 bytes or more and its scopes (read, write, cluster), none = all, or # and a remark")
	fs.StringSliceVar(&o.allowedOrigins, "allowed-origins", nil, "origins of browsers that may connect, besides the server's own: app.example.com or https://*.example.com")
	fs.BoolVar(&o.openUsers, "open-users", true, "accept messages to users who never logged in; false is for those who register users")

	o.offlineTTL = 168 * time.Hour
	fs.Var(cli.Duration(&o.offlineTTL, time.Second), "offline-ttl", "how long an unread message stays in the offline queue")
	o.offlineMaxMessages = 1000
	fs.Var(cli.Count(&o.offlineMaxMessages, 1, 1e6), "offline-max-messages", "messages in the offline queue of a user")
	o.offlineMaxBytes = 256 << 10
	fs.Var(cli.Size(&o.offlineMaxBytes, 1<<10, 1<<30), "offline-max-bytes", "bytes in the offline queue of a user")
	o.historyTTL = 168 * time.Hour
	fs.Var(cli.Duration(&o.historyTTL, time.Second), "history-ttl", "how long a message stays in history")
	o.userBytes = 1 << 20
	fs.Var(cli.Size(&o.userBytes, 1<<10, 1<<30), "user-bytes", "history of a user")
	o.recents = 100
	fs.Var(cli.Count(&o.recents, 1, 1000), "recents", "conversations in the list of recents")
	o.dedupWindow = 5 * time.Minute
	fs.Var(cli.Duration(&o.dedupWindow, time.Second), "dedup-window", "how long a repeated cid gets the first answer")
	o.recallWindow = 2 * time.Minute
	fs.Var(cli.Duration(&o.recallWindow, time.Second), "recall-window", "how long a sender can take a message back")
	o.maxBody = 12 << 10
	fs.Var(cli.Size(&o.maxBody, 1, protocol.LargestBody), "max-body", "body of a message as stored; a frame of a client may have six times that and 16 KiB, at least 88 KiB")
	o.newConversations = 200
	fs.Var(cli.Count(&o.newConversations, 0, 1e6), "new-conversations", "conversations that a user may begin in an hour; 0 = no limit")

	o.groupBytes = 4 << 20
	fs.Var(cli.Size(&o.groupBytes, 1<<10, 1<<30), "group-bytes", "history of a group")
	o.groupMessageRate, o.groupMessageBurst = 40, 100
	fs.Var(cli.Rate(&o.groupMessageRate, &o.groupMessageBurst), "group-rate", "messages of a group per second; 0 = no limit")
	o.groupChangeRate, o.groupChangeBurst = 20, 1000
	fs.Var(cli.Rate(&o.groupChangeRate, &o.groupChangeBurst), "group-change-rate", "changes of groups by a user per second; 0 = no limit")
	o.maxGroups = 1000
	fs.Var(cli.Count(&o.maxGroups, 0, 1e6), "max-groups", "groups that a user may be in; 0 = no limit")
	o.maxOwnedGroups = 100
	fs.Var(cli.Count(&o.maxOwnedGroups, 0, 1e6), "max-owned-groups", "groups that a user may own; 0 = no limit")

	o.maxDevices = 16
	fs.Var(cli.Count(&o.maxDevices, 1, 1000), "max-devices", "devices of a user that may be logged in")
	o.sessionPolicy = "multi"
	fs.Var(cli.Choice(&o.sessionPolicy, "multi", "platform", "single"), "session-policy", "which other sessions of its user a login ends")
	o.windowFrames, o.windowBytes = 256, 1<<20
	fs.Var(cli.Window(&o.windowFrames, &o.windowBytes), "window", "what a session may hold unacked")
	o.backlogMessages, o.backlogBytes = 1000, 1<<20
	fs.Var(cli.Backlog(&o.backlogMessages, &o.backlogBytes), "login-backlog", "what a login pushes of unread messages of groups, at most")
	o.frameRate, o.frameBurst = 2000, 5000
	fs.Var(cli.Rate(&o.frameRate, &o.frameBurst), "frame-rate", "frames of a connection per second; 0 = no limit")
	o.loginRate, o.loginBurst = 20, 100
	fs.Var(cli.Rate(&o.loginRate, &o.loginBurst), "login-rate", "logins of a user per second; 0 = no limit")
	o.sendRate, o.sendBurst = 200, 2000
	fs.Var(cli.Rate(&o.sendRate, &o.sendBurst), "send-rate", "sends of a user per second, in all sessions; 0 = no limit")
	fs.Var(cli.Count(&o.addressConnections, 0, 1e9), "address-connections", "connections of one address; 0 = no limit")
	fs.Var(cli.Count(&o.addressRate, 0, 1e9), "address-rate", "new connections of one address per second; 0 = no limit")
	o.unauthenticated = 4096
	fs.Var(cli.Count(&o.unauthenticated, 0, 1e9), "unauthenticated-connections", "connections that have not logged in; 0 = no limit")
	o.addressUnauthenticated = 512
	fs.Var(cli.Count(&o.addressUnauthenticated, 0, 1e9), "address-unauthenticated", "connections of one address (IPv6: of a /64) that have not logged in; 0 = no limit")
	fs.Var(cli.Prefixes(&o.trustedProxies), "trusted-proxies", "addresses of proxies, such as 10.0.0.0/8, whose X-Forwarded-For says who a client is")
	fs.BoolVar(&o.proxyProtocol, "proxy-protocol", false, "the trusted proxies speak the PROXY protocol (1 or 2) instead: each of their connections begins with its header")

	o.loginTimeout = 10 * time.Second
	fs.Var(cli.Duration(&o.loginTimeout, time.Millisecond), "login-timeout", "within which a connection has to log in")
	o.idleTimeout = time.Minute
	fs.Var(cli.Duration(&o.idleTimeout, time.Millisecond), "idle-timeout", "after which a connection that answers no ping is closed")
	o.ackTimeout = 30 * time.Second
	fs.Var(cli.Duration(&o.ackTimeout, time.Millisecond), "ack-timeout", "after which a session with a full window and no ack is closed")
	o.stallTimeout = 10 * time.Second
	fs.Var(cli.Duration(&o.stallTimeout, time.Millisecond), "stall-timeout", "after which a session that acks nothing of what it was pushed counts as away")
	o.writeTimeout = 10 * time.Second
	fs.Var(cli.Duration(&o.writeTimeout, time.Millisecond), "write-timeout", "within which a connection has to take what waits for it")
	o.frameTimeout = 30 * time.Second
	fs.Var(cli.Duration(&o.frameTimeout, time.Millisecond), "frame-timeout", "within which a frame, and a message in fragments, has to be complete")
	o.drainSpread = 5 * time.Second
	fs.Var(cli.Duration(&o.drainSpread, 0), "drain-spread", "over which a stop closes 1,000 connections or more, fewer in proportion; 0 = at once")

	o.webhooks.bind(fs)

	o.logLevel = "info"
	fs.Var(cli.Choice(&o.logLevel, "debug", "info", "warn", "error"), "log-level", "least level that is logged")
	o.logFormat = "text"
	fs.Var(cli.Choice(&o.logFormat, "text", "json"), "log-format", "form of the log on stderr")
}

// check returns an error for flags that contradict each other, and applies the
// defaults of --dev. changed reports whether a flag was given.
func (o *serveOptions) check(changed func(flag string) bool) error {
	if o.dev && !changed("listen") {
		o.listen = cli.DevListen
	}
	if o.dev && !changed("console") {
		o.console = true
	}
	addresses := []struct{ flag, address string }{{"listen", o.listen}, {"admin-listen", o.adminListen}}
	if o.cluster.listen != "" {
		addresses = append(addresses, struct{ flag, address string }{flagListen, o.cluster.listen})
	}
	for _, a := range addresses {
		host, _, err := net.SplitHostPort(a.address)
		if err != nil {
			return cli.Usagef("--%s: want host:port or :port: %w", a.flag, err)
		}
		if o.dev && !isLoopback(host) {
			return cli.Usagef("--%s %s: with --dev only a loopback address, such as 127.0.0.1, because everybody who reaches a development server can get a token", a.flag, a.address)
		}
	}
	switch {
	case !o.dev && len(o.authSecretFiles) == 0 && o.authJWKS == "":
		return cli.Usagef("want --auth-secret-file or --auth-jwks: without either the server could tell nobody from anybody (to try Belfry out: belfry serve --dev)")
	case o.authJWKS != "" && (o.authAudience == "" || o.authIssuer == ""):
		return cli.Usagef("--auth-jwks: want --auth-audience and --auth-issuer with it, because such keys usually sign for many services")
	case o.consoleTokens && (!o.dev || len(o.authSecretFiles) == 0):
		return cli.Usagef("--console-tokens: want --dev and --auth-secret-file with it, because whoever reaches the console can then be anybody")
	case (o.tlsCert == "") != (o.tlsKey == ""):
		return cli.Usagef("--tls-cert, --tls-key: want both or neither")
	case (o.adminTLSCert == "") != (o.adminTLSKey == ""):
		return cli.Usagef("--admin-tls-cert, --admin-tls-key: want both or neither")
	case o.adminTLSCert == "" && !o.adminInsecure && !isLoopbackAddress(o.adminListen):
		return cli.Usagef("--admin-listen %s: want --admin-tls-cert and --admin-tls-key, or a loopback address, because admin tokens would cross the network in the clear (or --admin-insecure)", o.adminListen)
	case o.data == "":
		return cli.Usagef("--data: want a folder")
	case o.proxyProtocol && len(o.trustedProxies) == 0:
		return cli.Usagef("--proxy-protocol: want --trusted-proxies with it, because whoever may send its header may be anybody")
	case o.node == "" || len(o.node) > 64:
		return cli.Usagef("--node: want 1-64 bytes")
	case o.offlineTTL > o.historyTTL:
		return cli.Usagef("--offline-ttl %v: want at most --history-ttl, %v: the queue is a part of history", o.offlineTTL, o.historyTTL)
	}
	for _, origin := range o.allowedOrigins {
		if err := auth.CheckOrigin(origin); err != nil {
			return cli.Usagef("--allowed-origins: %w", err)
		}
	}
	if err := o.cluster.check(changed); err != nil {
		return err
	}
	return o.webhooks.check()
}

// warnOfClearText logs which listeners serve other machines without TLS.
func (o *serveOptions) warnOfClearText(log *slog.Logger) {
	if o.tlsCert == "" && !isLoopbackAddress(o.listen) {
		log.Warn("clients' tokens and messages cross the network in the clear, unless a proxy in front speaks TLS: see --tls-cert", "listen", o.listen)
	}
	if o.adminTLSCert == "" && !isLoopbackAddress(o.adminListen) {
		log.Warn("admin tokens cross the network in the clear: see --admin-tls-cert", "admin", o.adminListen)
	}
	if o.cluster.insecure {
		log.Warn("nodes are trusted, and messages cross the network between them in the clear: see --cluster-tls-cert", "listen", o.cluster.listen)
	}
}

func isLoopbackAddress(address string) bool {
	host, _, err := net.SplitHostPort(address)
	return err == nil && isLoopback(host)
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}
