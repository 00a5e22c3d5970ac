package cli

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// Flag values with bounds. Each value refuses by itself what is out of its range, so that
// flag, variable and file get the same error, which names the rule.

// A duration is a time.Duration that prints as the documentation writes it: 168h, not
// 168h0m0s.
type duration struct {
	p   *time.Duration
	min time.Duration
}

// Duration returns a flag value for a duration of at least min, which it stores in *p.
func Duration(p *time.Duration, min time.Duration) pflag.Value { return duration{p, min} }

func (d duration) Type() string { return "duration" }

func (d duration) String() string {
	if d.p == nil {
		return ""
	}
	s := d.p.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func (d duration) Set(text string) error {
	v, err := time.ParseDuration(text)
	if err != nil {
		return fmt.Errorf("want a duration such as 90s, 5m or 168h")
	}
	if v < d.min {
		return fmt.Errorf("want at least %v", d.min)
	}
	*d.p = v
	return nil
}

// A count is an integer from min to max.
type count struct {
	p        *int
	min, max int
}

// Count returns a flag value for an integer from min to max, which it stores in *p.
func Count(p *int, min, max int) pflag.Value { return count{p, min, max} }

func (c count) Type() string { return "int" }

func (c count) String() string {
	if c.p == nil {
		return ""
	}
	return strconv.Itoa(*c.p)
}

func (c count) Set(text string) error {
	v, err := strconv.Atoi(text)
	if err != nil || v < c.min || v > c.max {
		return fmt.Errorf("want an integer from %d to %d", c.min, c.max)
	}
	*c.p = v
	return nil
}

// A size is a number of bytes: 4096, 256KiB, 1.5MiB.
type size struct {
	p        *int
	min, max int
}

// Size returns a flag value for a size from min to max bytes, which it stores in *p.
func Size(p *int, min, max int) pflag.Value { return size{p, min, max} }

var sizeUnits = []struct {
	name  string
	bytes int
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

func (s size) Type() string { return "size" }

func (s size) String() string {
	if s.p == nil {
		return ""
	}
	return FormatSize(*s.p)
}

func (s size) Set(text string) error {
	v, err := parseSize(text)
	if err != nil {
		return err
	}
	if v < s.min || v > s.max {
		return fmt.Errorf("want %s to %s", FormatSize(s.min), FormatSize(s.max))
	}
	*s.p = v
	return nil
}

func parseSize(text string) (int, error) {
	number, factor := text, 1
	for _, u := range sizeUnits {
		if n, ok := strings.CutSuffix(text, u.name); ok {
			number, factor = strings.TrimSpace(n), u.bytes
			break
		}
	}
	v, err := strconv.ParseFloat(number, 64)
	v *= float64(factor)
	// Above 2^53 a float64 skips integers; no size of ours comes near.
	if err != nil || !(v >= 0 && v < 1<<53) || v != math.Trunc(v) {
		return 0, fmt.Errorf("want a size such as 4096, 256KiB or 1MiB")
	}
	return int(v), nil
}

func FormatSize(bytes int) string {
	for _, u := range sizeUnits {
		if bytes >= u.bytes && bytes%u.bytes == 0 {
			return strconv.Itoa(bytes/u.bytes) + u.name
		}
	}
	return "0"
}

// A rate is a number per second on average and a burst at once, as in 20:100. Without a
// burst, the burst is as large as the rate; 0 is no limit.
type rate struct {
	perSecond *int
	burst     *int
}

// Rate returns a flag value for a rate and its burst.
func Rate(perSecond, burst *int) pflag.Value { return rate{perSecond, burst} }

func (r rate) Type() string { return "rate[:burst]" }

func (r rate) String() string {
	if r.perSecond == nil {
		return ""
	}
	if *r.perSecond == 0 {
		return "0"
	}
	return strconv.Itoa(*r.perSecond) + ":" + strconv.Itoa(*r.burst)
}

func (r rate) Set(text string) error {
	rateText, burstText, hasBurst := strings.Cut(text, ":")
	perSecond, err := strconv.Atoi(rateText)
	if err != nil || perSecond < 0 || perSecond > 1e9 {
		return fmt.Errorf("want a rate per second, with its burst as in 20:100, or 0 for no limit")
	}
	burst := perSecond
	if hasBurst {
		if burst, err = strconv.Atoi(burstText); err != nil || burst < 1 || burst > 1e9 {
			return fmt.Errorf("want a burst of at least 1, as in 20:100")
		}
	}
	*r.perSecond, *r.burst = perSecond, burst
	return nil
}

// A window is the most that may be under way: a number of frames and their bytes, as in
// 256:1MiB.
type window struct {
	frames *int
	bytes  *int
}

// Window returns a flag value for a number of frames and their bytes.
func Window(frames, bytes *int) pflag.Value { return window{frames, bytes} }

func (w window) Type() string { return "frames:size" }

func (w window) String() string {
	if w.frames == nil {
		return ""
	}
	return strconv.Itoa(*w.frames) + ":" + FormatSize(*w.bytes)
}

func (w window) Set(text string) error {
	frameText, sizeText, _ := strings.Cut(text, ":")
	frames, err := strconv.Atoi(frameText)
	if err != nil || frames < 1 || frames > maxWindowFrames {
		return fmt.Errorf("want frames and bytes, as in 256:1MiB, with 1 to %d frames", maxWindowFrames)
	}
	bytes, err := parseSize(sizeText)
	if err != nil || bytes < minWindowBytes || bytes > maxWindowBytes {
		return fmt.Errorf("want frames and bytes, as in 256:1MiB, with %s to %s", FormatSize(minWindowBytes), FormatSize(maxWindowBytes))
	}
	*w.frames, *w.bytes = frames, bytes
	return nil
}

const (
	maxWindowFrames = 1 << 16
	minWindowBytes  = 64 << 10 // one frame has to fit
	maxWindowBytes  = 1 << 30
)

// A backlog is a number of messages and their bytes.
type backlog struct {
	messages *int
	bytes    *int
}

// Backlog returns a flag value for a number of messages and their bytes.
func Backlog(messages, bytes *int) pflag.Value { return backlog{messages, bytes} }

func (b backlog) Type() string { return "messages:size" }

func (b backlog) String() string {
	if b.messages == nil {
		return ""
	}
	return strconv.Itoa(*b.messages) + ":" + FormatSize(*b.bytes)
}

func (b backlog) Set(text string) error {
	messageText, sizeText, _ := strings.Cut(text, ":")
	messages, err := strconv.Atoi(messageText)
	if err != nil || messages < 1 || messages > maxBacklogMessages {
		return fmt.Errorf("want messages and bytes, as in 1000:1MiB, with 1 to %d messages", maxBacklogMessages)
	}
	bytes, err := parseSize(sizeText)
	if err != nil || bytes < 1 || bytes > maxWindowBytes {
		return fmt.Errorf("want messages and bytes, as in 1000:1MiB, with 1 to %s", FormatSize(maxWindowBytes))
	}
	*b.messages, *b.bytes = messages, bytes
	return nil
}

const maxBacklogMessages = 1 << 20

// A choice is one of a few words.
type choice struct {
	p     *string
	words []string
}

// Choice returns a flag value for one of words, which it stores in *p.
func Choice(p *string, words ...string) pflag.Value { return choice{p, words} }

func (c choice) Type() string { return strings.Join(c.words, "|") }

func (c choice) String() string {
	if c.p == nil {
		return ""
	}
	return *c.p
}

func (c choice) Set(text string) error {
	if !slices.Contains(c.words, text) {
		return fmt.Errorf("want %s", strings.Join(c.words, ", "))
	}
	*c.p = text
	return nil
}

// prefixes are networks, or single addresses, separated by commas.
type prefixes struct{ p *[]netip.Prefix }

// Prefixes returns a flag value for networks and single addresses, separated by commas.
func Prefixes(p *[]netip.Prefix) pflag.Value { return prefixes{p} }

func (v prefixes) Type() string { return "networks" }

func (v prefixes) String() string {
	if v.p == nil {
		return ""
	}
	texts := make([]string, len(*v.p))
	for i, p := range *v.p {
		texts[i] = p.String()
	}
	return strings.Join(texts, ",")
}

func (v prefixes) Set(text string) error {
	*v.p = nil
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		p, err := netip.ParsePrefix(part)
		if a, bad := netip.ParseAddr(part); bad == nil {
			p, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		if err != nil {
			return fmt.Errorf("want networks such as 10.0.0.0/8,fd00::/8, or addresses; %q is neither", part)
		}
		*v.p = append(*v.p, p.Masked())
	}
	return nil
}

const (
	// AutoMemory is the value of a memory size that was given as "auto".
	AutoMemory = -1
	// LeastMemory is the least memory of a server, with next to no data.
	LeastMemory = 64 << 20
)

// A memorySize is a size of at least some bytes, 0 for no limit, or auto.
type memorySize struct {
	p     *int
	least int
}

// MemorySize returns a flag value for a memory size of at least least bytes, which it
// stores in *p.
func MemorySize(p *int, least int) pflag.Value { return memorySize{p, least} }

func (m memorySize) Type() string { return "size" }

func (m memorySize) String() string {
	switch {
	case m.p == nil:
		return ""
	case *m.p == AutoMemory:
		return "auto"
	}
	return FormatSize(*m.p)
}

func (m memorySize) Set(text string) error {
	if text == "auto" {
		*m.p = AutoMemory
		return nil
	}
	v, err := parseSize(text)
	if err != nil || v != 0 && v < m.least {
		return fmt.Errorf("want a size of at least %s such as 2GiB, 0 for no limit, or auto", FormatSize(m.least))
	}
	*m.p = v
	return nil
}
