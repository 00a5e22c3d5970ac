package loadtest

// What a run against several nodes has to find: a fake server, on two addresses,
// that loses, doubles or reorders what it has acknowledged.

import (
	"context"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// nodePairs is a run against a fake server that loses connections and has two
// addresses, with all that a cluster is verified with.
func nodePairs(t *testing.T, f faults) PairsConfig {
	f.cut = cutting
	s := newFakeServer(t, f)
	config := countedPairs(s)
	second := httptest.NewServer(s)
	t.Cleanup(second.Close)
	config.Server.URLs = append(config.Server.URLs, second.URL)
	config.Resume, config.Ordered, config.ReadBack, config.MaxSilence = true, true, true, 10*time.Second
	return config
}

func TestPairsAcrossNodes(t *testing.T) {
	config := nodePairs(t, faults{})
	seen := map[string]bool{}
	config.Disturb = func(ctx context.Context, clients []*Client, silences *Silences) {
		silences.Expect()
		for {
			for _, c := range clients {
				seen[c.URL()] = true // "" while it is at none
			}
			if len(silences.Unanswered()) == 0 || ctx.Err() != nil {
				return
			}
			<-time.After(10 * time.Millisecond)
		}
	}
	report, err := Pairs(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	if err := report.Err(); err != nil {
		t.Fatal(err)
	}
	if report.Reconnects == 0 || report.SilenceMS == 0 || report.UserSilenceMS < report.SilenceMS {
		t.Errorf("report = %+v, want reconnects and silences", report)
	}
	for _, url := range config.Server.URLs {
		if !seen[url] {
			t.Errorf("nobody was at %s, want clients at each address: %v", url, seen)
		}
	}
}

// TestPairsCatchesAtNodes plants what only replication can do wrong.
func TestPairsCatchesAtNodes(t *testing.T) {
	type messages = []protocol.Message
	// of changes what readers find, from message 30 of a user on.
	of := func(change func(log messages, at int) messages) faults {
		return faults{history: func(_ string, log messages) messages {
			const at = 30
			if len(log) <= at+1 {
				return log
			}
			return change(log, at)
		}}
	}
	for name, c := range map[string]struct {
		faults faults
		want   string
	}{
		"acknowledged and lost":      {of(func(log messages, at int) messages { return slices.Delete(log, at, at+1) }), "comes after seq"},
		"acknowledged and lost tail": {of(func(log messages, at int) messages { return log[:at] }), "ends with seq"},
		"acknowledged twice": {of(func(log messages, at int) messages {
			again := log[at]
			again.Seq = log[len(log)-1].Seq + 1
			return append(log, again)
		}), "is seq"},
		"another in its place": {of(func(log messages, at int) messages {
			next := slices.IndexFunc(log[at+1:], func(m protocol.Message) bool { return m.From == log[at].From })
			log[at].CID = log[at+1+next].CID
			return log
		}), "has cid"},
		"reordered": {faults{overtake: func(_ int, args *protocol.SendArgs) bool { return args.Retry }}, "order sent"},
	} {
		t.Run(name, func(t *testing.T) {
			config := nodePairs(t, c.faults)
			config.Users = 2
			report, err := Pairs(t.Context(), config)
			if err != nil {
				t.Fatal(err)
			}
			convicted(t, report.Verdict, c.want)
		})
	}
}

// TestPairsExcusesRepeats has repeats overtaken, which only Ordered forbids.
func TestPairsExcusesRepeats(t *testing.T) {
	config := nodePairs(t, faults{overtake: func(_ int, args *protocol.SendArgs) bool { return args.Retry }})
	config.Ordered, config.MaxSilence = false, time.Second
	report, err := Pairs(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	if err := report.Err(); err != nil {
		t.Fatal(err)
	}
}

// TestPairsLeavesSilence has sessions that nothing comes on any more, though their
// connections stay.
func TestPairsLeavesSilence(t *testing.T) {
	config := countedPairs(newFakeServer(t, faults{freeze: func(n int) bool { return n%40 == 0 }}))
	config.Resume, config.MaxSilence = true, 200*time.Millisecond
	report, err := Pairs(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	if err := report.Err(); err != nil {
		t.Fatal(err)
	}
	if report.Reconnects == 0 {
		t.Error("nobody reconnected")
	}
}

func TestHome(t *testing.T) {
	config := nodePairs(t, faults{})
	config.Disturb = func(ctx context.Context, clients []*Client, _ *Silences) {
		for _, c := range clients {
			home := c.config.Server.at(c.config.Number, 0)
			for ctx.Err() == nil && (c.URL() == home || c.URL() == "") {
				c.Cut()
				<-time.After(time.Millisecond)
			}
			for c.Home(); ctx.Err() == nil && c.URL() != home; {
				<-time.After(time.Millisecond)
			}
		}
	}
	report, err := Pairs(t.Context(), config)
	if err == nil {
		err = report.Err()
	}
	if err != nil {
		t.Fatal(err)
	}
}
