//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/belfry-im/belfry/loadtest/nodes"
)

const (
	// figureStart is how long a cluster took from its start until it served.
	figureStart = "start-up"
	// figureCPU is how much of a second the busiest node computed in each.
	figureCPU = "CPU a second"

	idleSettle  = 5 * time.Second
	idleMeasure = 20 * time.Second
)

// idle measures a cluster that nobody uses: its first start, and what it computes.
func idle(ctx context.Context, b *bench, runs int) (all [][]figure, err error) {
	for i := range runs {
		began := time.Now()
		if err := b.cluster.Start(ctx); err != nil {
			return all, err
		}
		started := time.Since(began)
		if err := sleep(ctx, idleSettle); err != nil {
			return all, err
		}
		before, err := cpuOf(b.cluster.Nodes())
		if err != nil {
			return all, err
		}
		if err := sleep(ctx, idleMeasure); err != nil {
			return all, err
		}
		after, err := cpuOf(b.cluster.Nodes())
		if err != nil {
			return all, err
		}
		busiest := time.Duration(0)
		for n := range before {
			busiest = max(busiest, (after[n]-before[n])/time.Duration(idleMeasure/time.Second))
		}
		f := []figure{{figureStart, started}, {figureCPU, busiest}}
		all = append(all, f)
		b.printf("idle %d/%d  %s", i+1, runs, line(f))
		if err := b.cluster.Stop(); err != nil {
			return all, err
		}
	}
	return all, nil
}

// cpuOf returns what nodes have computed so far.
func cpuOf(all []*nodes.Node) (cpu []time.Duration, err error) {
	for _, n := range all {
		// pid (name) state …: utime and stime are the 14th and 15th, in hundredths
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", n.PID()))
		if err != nil {
			return nil, err
		}
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		sum := time.Duration(0)
		for _, f := range fields[11:13] {
			ticks, err := strconv.Atoi(f)
			if err != nil {
				return nil, err
			}
			sum += time.Duration(ticks) * time.Second / 100
		}
		cpu = append(cpu, sum)
	}
	return cpu, nil
}
