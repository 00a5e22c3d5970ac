package main

import (
	"log/slog"
	"time"

	"github.com/belfry-im/belfry/gateway"
	"github.com/belfry-im/belfry/gateway/admin"
	"github.com/belfry-im/belfry/gateway/admission"
	"github.com/belfry-im/belfry/gateway/auth"
	"github.com/belfry-im/belfry/gateway/hooks"
	"github.com/belfry-im/belfry/gateway/inspect"
	"github.com/belfry-im/belfry/raftstore"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/prometheus/client_golang/prometheus"
)

// The methods below turn the flags into the configurations of the packages. The
// flags' 0 means no limit, which the packages write as a negative number: their 0
// means the default.

func (o *serveOptions) storeConfig(log *slog.Logger, registry *prometheus.Registry) raftstore.Config {
	return raftstore.Config{
		Dir:         o.data,
		Node:        o.node,
		Shards:      o.shards,
		RaftLog:     o.raftLog,
		ClockSettle: o.clockSettle,
		DiskReserve: int64(orOff(o.diskReserve)),
		OutboxBytes: o.outboxBytes,
		LoginRate:   o.loginRate,
		LoginBurst:  o.loginBurst,
		Limits: command.Limits{
			OfflineTTL:         o.offlineTTL,
			OfflineMaxMessages: o.offlineMaxMessages,
			OfflineMaxBytes:    o.offlineMaxBytes,
			HistoryTTL:         o.historyTTL,
			UserBytes:          o.userBytes,
			DedupWindow:        o.dedupWindow,
			RecallWindow:       o.recallWindow,
			Recents:            o.recents,
			MaxDevices:         o.maxDevices,
			NewConversations:   orOff(o.newConversations),
			GroupBytes:         o.groupBytes,
			GroupRate:          orOff(o.groupMessageRate),
			GroupBurst:         o.groupMessageBurst,
		},
		Log:        log,
		Registerer: registry,
	}
}

// admissionConfig bounds connections by memory and by the process's descriptors.
func (o *serveOptions) admissionConfig(memory int64) admission.Config {
	return admission.Config{
		Memory:                 memory,
		Connections:            maxConnections(openFiles()),
		Unauthenticated:        o.unauthenticated,
		AddressUnauthenticated: o.addressUnauthenticated,
		AddressConnections:     o.addressConnections,
		AddressRate:            o.addressRate,
	}
}

// maxConnections returns how many connections there may be when the process may
// have so many files open; 0 is no limit. The other files are for the store,
// whose logs and snapshots must never fail for want of one, and for
// administrators.
func maxConnections(files int) int {
	const reserve = 256 + maxAdminConnections
	if files <= 0 {
		return 0
	}
	return files - min(reserve, files/2)
}

func (o *serveOptions) gatewayConfig(backend *backend, inspected *inspect.Local, memory int64, hooks *hooks.Hooks, auth auth.Config, administration *admin.API, tokens *admin.Tokens, log *slog.Logger, registry *prometheus.Registry) gateway.Config {
	return gateway.Config{
		Backend:          backend.store,
		Auth:             auth,
		AdminTokens:      tokens,
		Administration:   administration,
		SafeToStop:       backend.safeToStop(),
		Inspect:          inspected,
		Dev:              o.dev,
		AllowedOrigins:   o.allowedOrigins,
		KnownUsersOnly:   !o.openUsers,
		Policy:           policies[o.sessionPolicy],
		MaxBody:          o.maxBody,
		Window:           o.windowFrames,
		WindowBytes:      o.windowBytes,
		LoginBacklog:     gateway.Backlog{Messages: o.backlogMessages, Bytes: o.backlogBytes},
		LoginTimeout:     o.loginTimeout,
		IdleTimeout:      o.idleTimeout,
		AckTimeout:       o.ackTimeout,
		StallTimeout:     o.stallTimeout,
		WriteTimeout:     o.writeTimeout,
		FrameTimeout:     o.frameTimeout,
		DrainSpread:      orOff(o.drainSpread),
		MaxGroups:        orOff(o.maxGroups),
		MaxOwnedGroups:   orOff(o.maxOwnedGroups),
		FrameRate:        orOff(o.frameRate),
		FrameBurst:       o.frameBurst,
		LoginRate:        orOff(o.loginRate),
		LoginBurst:       o.loginBurst,
		SendRate:         orOff(o.sendRate),
		SendBurst:        o.sendBurst,
		GroupChangeRate:  orOff(o.groupChangeRate),
		GroupChangeBurst: o.groupChangeBurst,
		Admission:        o.admissionConfig(memory),
		Proxies:          admission.Proxies{Trusted: o.trustedProxies, Protocol: o.proxyProtocol},
		Hooks:            hooks,
		Log:              log,
		Registry:         registry,
	}
}

func (o *serveOptions) adminConfig(backend *backend, inspected *inspect.Local, tokens *admin.Tokens, log *slog.Logger) admin.Config {
	return admin.Config{
		Backend:        backend.store,
		Cluster:        backend.cluster,
		Inspect:        inspected,
		Tokens:         tokens,
		KnownUsersOnly: !o.openUsers,
		MaxBody:        o.maxBody,
		Log:            log,
	}
}

// policies maps the values of --session-policy.
var policies = map[string]command.Policy{
	"multi":    command.PolicyMulti,
	"platform": command.PolicyPlatform,
	"single":   command.PolicySingle,
}

func orOff[T int | time.Duration](n T) T {
	if n == 0 {
		return -1
	}
	return n
}
