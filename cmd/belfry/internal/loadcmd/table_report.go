package loadcmd

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/belfry-im/belfry/cmd/belfry/internal/cli"
	"github.com/belfry-im/belfry/loadtest"
)

// A tableReport is the outcome of load table.
type tableReport struct {
	Cores    int    `json:"cores"`
	Go       string `json:"go"`
	System   string `json:"system"`
	Dir      string `json:"dir"`
	InMemory bool   `json:"inMemory,omitempty"` // Dir is on no disk
	// Appends of 300 bytes with fsync to a preallocated file.
	FsyncBefore loadtest.Latency `json:"fsyncBefore"`
	FsyncAfter  loadtest.Latency `json:"fsyncAfter"`

	// Others are the cores that other processes kept busy during the runs; nil if
	// the system does not tell.
	Others []otherCores `json:"others,omitempty"`

	Rows []tableRow `json:"rows"`

	Pairs     []shardedPairs             `json:"pairs,omitempty"`
	Rate      *loadtest.PairsReport      `json:"rate,omitempty"`
	Login     *loadtest.LoginReport      `json:"login,omitempty"`
	Idle      *loadtest.IdleReport       `json:"idle,omitempty"`
	Reconnect *loadtest.ReconnectReport  `json:"reconnect,omitempty"`
	Slow      *loadtest.SlowReport       `json:"slow,omitempty"`
	Group     *loadtest.GroupReport      `json:"group,omitempty"`
	GroupRate *loadtest.GroupReport      `json:"groupAtRate,omitempty"`
	Chatroom  *loadtest.ChatroomReport   `json:"chatroom,omitempty"`
	Groups    *loadtest.GroupLoginReport `json:"loginWithGroups,omitempty"`
	Siege     *siegeReport               `json:"siege,omitempty"`
	Failures  []string                   `json:"failures,omitempty"` // scenarios without a report
}

type otherCores struct {
	Run   string  `json:"run"`
	Cores float64 `json:"cores"`
}

// shardedPairs is a run of pairs with a number of shards.
type shardedPairs struct {
	Shards int `json:"shards"`
	*loadtest.PairsReport
}

// A tableRow is one figure and the bar that it is held to.
type tableRow struct {
	What   string  `json:"what"`
	Value  float64 `json:"value"`
	Unit   string  `json:"unit"`
	Figure string  `json:"figure"` // value and what belongs to it, in words
	Bar    string  `json:"bar"`
	Holds  string  `json:"holds"` // "yes", "no", "reached": the bar and what to reach for beyond it; "" = no bar
}

// judge fills in the rows from the reports of the scenarios.
func (r *tableReport) judge() {
	for _, p := range r.Pairs {
		name := fmt.Sprintf("pairs, window %d, %s", p.Window, cli.Plural(p.Shards, "shard"))
		if p.Server != nil {
			r.limit(name+": server CPU", p.Server.CPUPerMillion, "CPU-s a million", 12, 7,
				"%.2f CPU-s a million messages (generator %.2f)", p.Server.CPUPerMillion, p.Generator.CPUPerMillion)
		}
		row := tableRow{What: name + ": rate", Value: p.SendsPerSecond, Unit: "messages/s", Bar: "reach for 100,000",
			Figure: fmt.Sprintf("%s messages/s, p99 %s", grouped(p.SendsPerSecond), inMS(p.Delivery.P99MS))}
		if p.SendsPerSecond >= 100_000 {
			row.Holds = "reached"
		}
		r.Rows = append(r.Rows, row)
	}
	if p := r.Rate; p != nil {
		name := fmt.Sprintf("pairs at %s/s: send → delivered", grouped(float64(p.Rate)))
		fsync := (r.FsyncBefore.P50MS + r.FsyncAfter.P50MS) / 2
		r.limit(name+", p50", p.Delivery.P50MS, "ms", 3*fsync+0.5, 0, "%s (bar: 3 × fsync p50 + 0.5 ms)", inMS(p.Delivery.P50MS))
		r.limit(name+", p99", p.Delivery.P99MS, "ms", 4, 1.5, "%s, max %s", inMS(p.Delivery.P99MS), inMS(p.Delivery.MaxMS))
	}
	if p := r.Login; p != nil {
		r.limit(fmt.Sprintf("login: %s users, %s messages each", grouped(float64(p.Users)), grouped(float64(p.Backlog))),
			p.Seconds, "s", 0.4, 0.2, "%.2f s, %s messages/s", p.Seconds, grouped(p.MessagesPerSecond))
	}
	if p := r.Idle; p != nil && p.RSSAfter > 0 {
		kib := float64(p.RSSPerSession) / (1 << 10)
		r.limit(fmt.Sprintf("idle: %s connections, server RSS", grouped(float64(p.Connections))), kib, "KiB a connection", 12, 8,
			"%.1f KiB a connection", kib)
	}
	if p := r.Reconnect; p != nil {
		r.limit(fmt.Sprintf("reconnect: %s clients after kill -9", grouped(float64(p.Clients))), p.Seconds, "s", 5, 0,
			"%.2f s, login p50 %s, p99 %s, %s failed attempts", p.Seconds, inMS(p.Login.P50MS), inMS(p.Login.P99MS), grouped(float64(p.Attempts-p.Login.Count)))
	}
	if p := r.Slow; p != nil {
		r.judgeSlow(p)
	}
	r.judgeGroups()
	if p := r.Siege; p != nil {
		r.Failures = append(r.Failures, p.Failures...)
		for _, s := range p.Sieges {
			r.judgeSiege(s, p.Limit)
		}
	}
}

func (r *tableReport) judgeGroups() {
	if p := r.Group; p != nil {
		name := fmt.Sprintf("group, %s online, %s, window %d", cli.Plural(p.Members, "member"), cli.Plural(p.Senders, "sender"), p.Window)
		if p.Server != nil {
			r.limit(name+": server CPU", p.Server.CPUPerMillion, "µs a delivery", 3, 1.2,
				"%.2f µs a delivery (generator %.2f), %.0f messages a frame", p.Server.CPUPerMillion, p.Generator.CPUPerMillion, p.MessagesPerFrame)
		}
		row := tableRow{What: name + ": rate", Value: p.DeliveriesPerSecond, Unit: "deliveries/s", Bar: "≥ 250,000, reach for 900,000", Holds: "no",
			Figure: fmt.Sprintf("%s deliveries/s, p99 %s", grouped(p.DeliveriesPerSecond), inMS(p.Delivery.P99MS))}
		switch {
		case p.DeliveriesPerSecond >= 900_000:
			row.Holds = "reached"
		case p.DeliveriesPerSecond >= 250_000:
			row.Holds = "yes"
		}
		r.Rows = append(r.Rows, row)
	}
	if p := r.GroupRate; p != nil {
		row := tableRow{What: fmt.Sprintf("the same at %s/s: send → delivered, p99", grouped(float64(p.Rate))), Value: p.Delivery.P99MS, Unit: "ms", Bar: "none",
			Figure: fmt.Sprintf("%s, p50 %s", inMS(p.Delivery.P99MS), inMS(p.Delivery.P50MS))}
		if p.Server != nil {
			row.Figure += fmt.Sprintf(", %.1f µs a delivery, %.1f messages a frame", p.Server.CPUPerMillion, p.MessagesPerFrame)
		}
		r.Rows = append(r.Rows, row)
	}
	if p := r.Chatroom; p != nil {
		r.limit(fmt.Sprintf("chatroom of %s, %s online, after kill -9", grouped(float64(p.Members)), grouped(float64(p.Online))), p.Seconds, "s", 10, 0,
			"%.2f s until all have everything, login p50 %s, p99 %s", p.Seconds, inMS(p.Login.P50MS), inMS(p.Login.P99MS))
	}
	if p := r.Groups; p != nil {
		r.limit(fmt.Sprintf("login with %s, p99", cli.Plural(p.Groups, "group")), max(p.NewDevice.P99MS, p.Returning.P99MS), "ms", 20, 0,
			"new device p50 %s, p99 %s; with cursors %s, %s", inMS(p.NewDevice.P50MS), inMS(p.NewDevice.P99MS), inMS(p.Returning.P50MS), inMS(p.Returning.P99MS))
	}
}

// What counts as noise when two phases of one run are compared.
const (
	noiseFactor = 1.5
	noiseMS     = 0.5
)

func (r *tableReport) judgeSlow(p *loadtest.SlowReport) {
	name := fmt.Sprintf("%s that never read: ", cli.Plural(p.Slow, "peer"))
	without, with := p.Without.Delivery.P99MS, p.With.Delivery.P99MS
	r.limit(name+"others' p99", with, "ms", noiseFactor*without+noiseMS, 0, "%s without, %s with (bar: noise of half + 0.5 ms)", inMS(without), inMS(with))
	if p.ServerCloses != nil {
		holds := "no"
		if *p.ServerCloses == int64(p.Slow) {
			holds = "yes"
		}
		r.Rows = append(r.Rows, tableRow{What: name + "closed 4413", Value: float64(*p.ServerCloses), Unit: "connections",
			Figure: fmt.Sprintf("%d in /metrics, %d seen", *p.ServerCloses, p.Closes["closed 4413"]), Bar: fmt.Sprintf("all %d", p.Slow), Holds: holds})
	}
	if p.With.RSSMax > 0 {
		const mib = 1 << 20
		// All messages sent meanwhile are stored, in the views of both users.
		messages := p.With.SendsPerSecond*p.With.Seconds + float64(p.Caught)
		stored := 2 * messages * float64(p.Body+storedOverhead) / mib
		grown := float64(p.With.RSSMax-p.Without.RSSMax) / mib
		r.limit(name+"server RSS", grown, "MiB", 2*stored+float64(p.Slow)/4, 0, "+%.0f MiB, with %.0f MiB of messages stored", grown, stored)
	}
	missed := tableRow{What: name + "at their next login", Value: float64(p.SlowDelivered), Unit: "messages", Bar: "all", Holds: "yes",
		Figure: fmt.Sprintf("%s of %s messages", grouped(float64(p.SlowDelivered)), grouped(float64(p.SlowSent)))}
	if p.SlowDelivered != p.SlowSent || p.Violations > 0 {
		missed.Holds = "no"
	}
	r.Rows = append(r.Rows, missed)
}

// storedOverhead is about how many bytes a stored message takes beside its
// body.
const storedOverhead = 90

// limit adds a row for a value that must be at most bar and, unless reach is
// 0, should be at most reach.
func (r *tableReport) limit(what string, value float64, unit string, bar, reach float64, figure string, args ...any) {
	row := tableRow{What: what, Value: value, Unit: unit, Figure: fmt.Sprintf(figure, args...), Holds: "no"}
	row.Bar = fmt.Sprintf("≤ %s %s", short(bar), unit)
	if reach > 0 {
		row.Bar += ", reach for " + short(reach)
	}
	switch {
	case reach > 0 && value <= reach:
		row.Holds = "reached"
	case value <= bar:
		row.Holds = "yes"
	}
	r.Rows = append(r.Rows, row)
}

// short formats a number with at most two decimals.
func short(v float64) string {
	return strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%.2f", v), "0"), ".")
}

func (r *tableReport) table() [][]string {
	fsync := func(when string, l loadtest.Latency) []string {
		return []string{"fsync, " + when, fmt.Sprintf("p50 %s, p99 %s", inMS(l.P50MS), inMS(l.P99MS)), "", ""}
	}
	rows := [][]string{
		{fmt.Sprintf("%s, %s, %s; generator and server on the same machine", cli.Plural(r.Cores, "core"), r.Go, r.System)},
		{"what", "figure", "bar", "holds"},
		fsync("before", r.FsyncBefore),
	}
	for _, row := range r.Rows {
		holds := row.Holds
		if holds == "" {
			holds = "-"
		}
		rows = append(rows, []string{row.What, row.Figure, row.Bar, holds})
	}
	rows = append(rows, fsync("after", r.FsyncAfter))
	if len(r.Others) > 0 {
		most := slices.MaxFunc(r.Others, func(a, b otherCores) int { return cmp.Compare(a.Cores, b.Cores) })
		rows = append(rows, []string{"other processes", fmt.Sprintf("%.2f cores busy at most, during %s", most.Cores, most.Run), "", ""})
	}
	if r.InMemory {
		rows = append(rows, []string{"The folder is in memory, where fsync has nothing to do: these are no figures of a disk."})
	}
	for _, failure := range r.Failures {
		rows = append(rows, []string{"FAILED " + failure})
	}
	var wrong []string
	for _, v := range r.verdicts() {
		wrong = append(wrong, v.Examples...)
	}
	if len(wrong) == 0 && len(r.Failures) > 0 {
		return rows
	}
	if len(wrong) == 0 {
		return append(rows, []string{"verified in every run: each message once, in order, unaltered"})
	}
	rows = append(rows, []string{"VIOLATIONS"})
	for _, text := range wrong {
		rows = append(rows, []string{"  " + text})
	}
	return rows
}

// verdicts returns the verdicts of all runs.
func (r *tableReport) verdicts() []loadtest.Verdict {
	var all []loadtest.Verdict
	for _, p := range r.Pairs {
		all = append(all, p.Verdict)
	}
	if r.Rate != nil {
		all = append(all, r.Rate.Verdict)
	}
	if r.Login != nil {
		all = append(all, r.Login.Verdict)
	}
	if r.Idle != nil {
		all = append(all, r.Idle.Verdict)
	}
	if r.Reconnect != nil {
		all = append(all, r.Reconnect.Verdict)
	}
	if r.Slow != nil {
		all = append(all, r.Slow.Verdict)
	}
	for _, p := range []*loadtest.GroupReport{r.Group, r.GroupRate} {
		if p != nil {
			all = append(all, p.Verdict)
		}
	}
	if r.Chatroom != nil {
		all = append(all, r.Chatroom.Verdict)
	}
	if r.Groups != nil {
		all = append(all, r.Groups.Verdict)
	}
	if r.Siege != nil {
		for _, s := range r.Siege.Sieges {
			all = append(all, s.Verdict)
		}
	}
	return all
}

// Err returns nil if every scenario ran without a fault, else the faults.
func (r *tableReport) Err() error {
	var errs []error
	for _, v := range r.verdicts() {
		errs = append(errs, v.Err())
	}
	for _, failure := range r.Failures {
		errs = append(errs, errors.New(failure))
	}
	return errors.Join(errs...)
}
