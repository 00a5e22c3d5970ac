#!/usr/bin/env bash
# github.com/hashicorp/raft-wal v0.4.2 keeps what it needed to write a full segment in memory.
#
# Most would guess: a segment that is full and sealed costs a file descriptor. Memory
# goes with what is being written, and a log of a gigabyte on disk is as cheap to hold
# for the process that wrote it as for one that has just opened it.
#
# What happens: every segment that this process has filled keeps its writer, with a
# buffer as large as the segment's largest append and its index, until it is deleted by
# truncation. Opened anew, the same log holds nothing of that.
#
# Why it matters to us: a Raft follower that catches up appends large batches, and its
# log is not cut before it has a snapshot: it held most of a state's size once more.
set -euo pipefail
command -v go >/dev/null || { echo "go is needed" >&2; exit 2; }

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >go.mod <<'MOD'
module finding

go 1.25
MOD
cat >main.go <<'GO'
package main

import (
	"fmt"
	"os"
	"runtime"

	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
)

const (
	segment = 4 << 20
	batch   = 2 << 20 // of 16 entries
	total   = 128 << 20
)

func live() float64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc) / (1 << 20)
}

func open(dir string) *wal.WAL {
	log, err := wal.Open(dir, wal.WithSegmentSize(segment))
	must(err)
	return log
}

func must(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func main() {
	dir, err := os.MkdirTemp("", "wal")
	must(err)
	defer os.RemoveAll(dir)
	log := open(dir)
	before := live()
	data := make([]byte, batch/16)
	for index := uint64(1); index < total/uint64(len(data)); {
		var entries []*raft.Log
		for range 16 {
			entries = append(entries, &raft.Log{Index: index, Term: 1, Data: data})
			index++
		}
		must(log.StoreLogs(entries))
	}
	written := live() - before
	runtime.KeepAlive(log)
	must(log.Close())
	log = nil
	before = live()
	log = open(dir)
	opened := live() - before
	runtime.KeepAlive(log)
	fmt.Printf("a log of %d MiB in segments of %d MiB: %.0f MiB of heap in the process that wrote it, %.0f MiB where it was opened\n",
		total>>20, segment>>20, written, opened)
	if written < 32 || opened > 8 {
		os.RemoveAll(dir)
		os.Exit(1)
	}
}
GO
go get github.com/hashicorp/raft@v1.7.3 github.com/hashicorp/raft-wal@v0.4.2 >/dev/null 2>&1
go list -m github.com/hashicorp/raft github.com/hashicorp/raft-wal
go run .
