package main

import (
	"log/slog"
	"runtime/debug"

	"github.com/belfry-im/belfry/cmd/belfry/internal/cli"
)

const (
	// autoMemoryPercent is what a process may take of the memory there is.
	autoMemoryPercent = 75
	// programMemory is about what lies in memory of the program's file. The
	// system counts it as the process's, the runtime does not.
	programMemory = 16 << 20
	// leastConnectionMemory is room for some hundred connections.
	leastConnectionMemory = 4 << 20
	// baseMemory is what is reserved for all that is neither connections nor messages,
	// and one in baseShare of the limit: the program, the runtime, what is under way
	// to the disk and to administrators.
	baseMemory = 24 << 20
	baseShare  = 16
	// connectionShare is the part of the memory that connections may take, one in
	// so many.
	connectionShare     = 5
	mostConnectionShare = 3
)

// limitMemory tells the runtime how much memory the process may take, and
// returns it; 0 is no limit.
func (o *serveOptions) limitMemory(log *slog.Logger) int64 {
	limit := int64(o.memoryLimit)
	if limit == cli.AutoMemory {
		usable, err := usableMemory("/")
		if err != nil {
			log.Warn("memory is not limited, because how much there is cannot be told: set --memory-limit", "err", err)
			return 0
		}
		limit = max(usable/100*autoMemoryPercent, cli.LeastMemory)
	}
	if limit > 0 {
		log.Info("memory is limited", "limit", limit)
		debug.SetMemoryLimit(limit - programMemory)
	}
	return limit
}

// connectionLimit is what connections may take of a limit; 0 is no limit.
func (o *serveOptions) connectionLimit(limit int64) int64 {
	if o.connectionMemory == cli.AutoMemory {
		return limit / connectionShare
	}
	return int64(o.connectionMemory)
}

// reservedMemory is what messages never have of a limit. Without a limit for
// connections nothing can be reserved for them.
func reservedMemory(limit, connections int64) (int64, error) {
	if limit == 0 || connections == 0 {
		return 0, nil
	}
	if connections > limit/mostConnectionShare {
		return 0, cli.Usagef("--connection-memory %s: want at most a third of --memory-limit, %s", cli.FormatSize(int(connections)), cli.FormatSize(int(limit)))
	}
	return connections + baseMemory + limit/baseShare, nil
}
