package main

import (
	"log/slog"
	"runtime/debug"

	"github.com/belfry-im/belfry/cmd/belfry/internal/cli"
)

const (
	// autoMemoryPercent is the part of the usable memory that the process may take by
	// default.
	autoMemoryPercent = 75
	// programMemory is about how much of the program's file lies in memory. The system
	// counts it as the process's, the runtime does not.
	programMemory = 16 << 20
	// leastConnectionMemory is room for some hundred connections.
	leastConnectionMemory = 4 << 20
	// baseMemory, plus one in baseShare of the limit, is reserved for all that is
	// neither connections nor messages: the program, the runtime, what is on its way
	// to the disk and to administrators.
	baseMemory = 24 << 20
	baseShare  = 16
	// One in connectionShare is the default part of the memory for connections, and
	// one in mostConnectionShare the largest.
	connectionShare     = 5
	mostConnectionShare = 3
)

// limitMemory sets the runtime's memory limit by --memory-limit and returns how
// much memory the process may take; 0 is no limit.
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

// connectionLimit returns how much of a memory limit connections may take; 0 is no
// limit.
func (o *serveOptions) connectionLimit(limit int64) int64 {
	if o.connectionMemory == cli.AutoMemory {
		return limit / connectionShare
	}
	return int64(o.connectionMemory)
}

// reservedMemory returns the part of a memory limit that messages may not take:
// that of connections and the base. It is 0 if either limit is missing.
func reservedMemory(limit, connections int64) (int64, error) {
	if limit == 0 || connections == 0 {
		return 0, nil
	}
	if connections > limit/mostConnectionShare {
		return 0, cli.Usagef("--connection-memory %s: want at most a third of --memory-limit, %s", cli.FormatSize(int(connections)), cli.FormatSize(int(limit)))
	}
	return connections + baseMemory + limit/baseShare, nil
}
