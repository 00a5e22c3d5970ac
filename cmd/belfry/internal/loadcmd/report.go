package loadcmd

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/belfry-im/belfry/loadtest"
)

// The reports of package loadtest, which these types print as tables.
type (
	pairsReport struct{ *loadtest.PairsReport }
	loginReport struct{ *loadtest.LoginReport }
	idleReport  struct{ *loadtest.IdleReport }
)

// printRows prints rows of cells in columns. A row of one cell spans them.
func printRows(w io.Writer, rows [][]string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	return t.Flush()
}

func (r pairsReport) table() [][]string {
	load := fmt.Sprintf("window %d", r.Window)
	if r.Rate > 0 {
		load = fmt.Sprintf("%s/s offered", grouped(float64(r.Rate)))
	}
	rows := [][]string{
		{fmt.Sprintf("pairs: %s users, %d B, %s, %s, %.1f s", grouped(float64(r.Users)), r.Body, r.Codec, load, r.Seconds)},
		{"sends/s", grouped(r.SendsPerSecond)},
		{"deliveries/s", grouped(r.DeliveriesPerSecond)},
		latencyHead,
		latencyRow("send → ack", r.Ack),
		latencyRow("send → delivered", r.Delivery),
		latencyRow("sent late by", r.Late),
		{"longest without an ack", fmt.Sprintf("%s, of one user %s", inMS(r.SilenceMS), inMS(r.UserSilenceMS))},
		{"messages", fmt.Sprintf("%s sent, %s delivered", grouped(float64(r.Sent)), grouped(float64(r.Delivered)))},
	}
	if r.Unsent > 0 {
		rows = append(rows, []string{"not sent", grouped(float64(r.Unsent)) + " that were due, for want of room in the windows"})
	}
	rows = append(rows, errorRows(r.Refused)...)
	if r.Reconnects > 0 {
		rows = append(rows, []string{"reconnects", fmt.Sprintf("%s, %s messages pushed again", grouped(float64(r.Reconnects)), grouped(float64(r.Repeated)))})
	}
	rows = append(rows, usageRow("server", r.Server, true), usageRow("generator", r.Generator, true))
	return finish(rows, r.Verdict)
}

func (r loginReport) table() [][]string {
	rows := [][]string{
		{fmt.Sprintf("login: %s users, %s messages each, %d B, %s", grouped(float64(r.Users)), grouped(float64(r.Backlog)), r.Body, r.Codec)},
		{"prepared in", fmt.Sprintf("%.2f s", r.PrepareSeconds)},
		{"all synced in", fmt.Sprintf("%.2f s", r.Seconds)},
		{"logins/s", grouped(r.LoginsPerSecond)},
		{"messages/s", grouped(r.MessagesPerSecond)},
		latencyHead,
		latencyRow("dial → reply", r.Answer),
		latencyRow("dial → all there", r.Login),
		usageRow("server", r.Server, true),
		usageRow("generator", r.Generator, true),
	}
	if r.CPUPerLoginMS > 0 {
		rows = append(rows, []string{"server CPU a login", fmt.Sprintf("%.2f ms", r.CPUPerLoginMS)})
	}
	return finish(rows, r.Verdict)
}

func (r idleReport) table() [][]string {
	rows := [][]string{
		{fmt.Sprintf("idle: %s sessions, %s, held for %.1f s", grouped(float64(r.Connections)), r.Codec, r.HoldSeconds)},
		{"opened in", fmt.Sprintf("%.2f s", r.OpenSeconds)},
		{"logins/s", grouped(r.LoginsPerSecond)},
		latencyHead,
		latencyRow("dial → synced", r.Login),
		latencyRow("ping", r.Ping),
		{"alive", grouped(float64(r.Alive))},
	}
	if r.RSSAfter > 0 {
		rows = append(rows, []string{"server memory", fmt.Sprintf("%s → %s, %s a session", mebibytes(r.RSSBefore), mebibytes(r.RSSAfter), kibibytes(r.RSSPerSession))})
	}
	rows = append(rows, usageRow("server, opening", r.Opening, true), usageRow("server, holding", r.Holding, false))
	return finish(rows, r.Verdict)
}

// errorRows returns rows with the errors that sends were answered with, by
// code.
func errorRows(refused map[string]int64) (rows [][]string) {
	if len(refused) == 0 {
		return [][]string{{"errors", "none"}}
	}
	for _, code := range slices.Sorted(maps.Keys(refused)) {
		rows = append(rows, []string{"errors", grouped(float64(refused[code])) + " " + code})
	}
	return rows
}

// finish removes nil rows and adds those of the verdict.
func finish(rows [][]string, v loadtest.Verdict) [][]string {
	rows = slices.DeleteFunc(rows, func(row []string) bool { return row == nil })
	if v.Err() == nil {
		return append(rows, []string{"verified", "each message once, in order, unaltered"})
	}
	rows = append(rows, []string{"VIOLATIONS", strconv.FormatInt(v.Violations, 10)})
	for _, text := range v.Examples {
		rows = append(rows, []string{"  " + text})
	}
	return rows
}

var latencyHead = []string{"", "p50", "p99", "p99.9", "max"}

func latencyRow(name string, l loadtest.Latency) []string {
	if l.Count == 0 {
		return nil
	}
	return []string{name, inMS(l.P50MS), inMS(l.P99MS), inMS(l.P999MS), inMS(l.MaxMS)}
}

func inMS(v float64) string { return strconv.FormatFloat(v, 'f', 2, 64) + " ms" }

func usageRow(name string, u *loadtest.Usage, perMillion bool) []string {
	if u == nil {
		return nil
	}
	text := fmt.Sprintf("%.2f CPU-seconds (%.2f cores)", u.CPUSeconds, u.Cores)
	if perMillion && u.CPUPerMillion > 0 {
		text += fmt.Sprintf(", %.2f per million", u.CPUPerMillion)
	}
	return []string{name, text + ", " + mebibytes(u.RSSBytes)}
}

func mebibytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
func kibibytes(n int64) string { return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10)) }

// grouped formats a number without its fraction, in groups of three digits.
func grouped(v float64) string {
	digits := strconv.FormatFloat(v, 'f', 0, 64)
	for i := len(digits) - 3; i > 0 && digits[i-1] != '-'; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// progressLine returns the line that shows how far a run is.
func progressLine(p loadtest.Progress) string {
	line := fmt.Sprintf("%4ds  %s", int(p.Elapsed/time.Second), p.Phase)
	if p.Of > 0 {
		line += fmt.Sprintf(" %s/%s", grouped(float64(p.Done)), grouped(float64(p.Of)))
	}
	if p.Sent > 0 {
		line += fmt.Sprintf("  %s sent, %s delivered", grouped(float64(p.Sent)), grouped(float64(p.Delivered)))
	}
	return line
}
