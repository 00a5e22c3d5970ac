package clustercmd

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// A status is what a node answers, as far as it is printed.
type status struct {
	Cluster, Asked, Verdict, Leader string
	Level                           int
	Problems, Warnings, Voters      []string
	Nodes                           []nodeStatus
	Shards                          []shardStatus
}

type nodeStatus struct {
	ID, Name, Address, Roles, State string
	Admitted, Maintenance, Leaving  bool
	Leads, Replicas                 int

	ClockOffset                             float64 // seconds
	Draining, SlowDisk, DiskLow, MemoryFull bool
}

type shardStatus struct {
	Shard    int
	Slots    int
	Leader   string
	Replicas []struct {
		Node, State  string
		Up, CaughtUp bool
		Lag          int
		Problem      string
		Stopped      bool
		Diverged     bool
	}
}

// width is that of the widest line that is printed.
const width = 100

// clip shortens text to n characters.
func clip(text string, n int) string {
	if runes := []rune(text); len(runes) > n {
		return string(runes[:n-1]) + "…"
	}
	return text
}

// print writes the verdict, what is wrong, and tables.
func (s *status) print(out io.Writer) {
	fmt.Fprintln(out, clip(s.Verdict, width))
	for i, problem := range s.Problems {
		const most = 20
		if i == most {
			fmt.Fprintf(out, "  and %d more (--json has all)\n", len(s.Problems)-most)
			break
		}
		fmt.Fprintln(out, clip("  "+problem, width))
	}
	for _, warning := range s.Warnings {
		fmt.Fprintln(out, clip("  warning: "+warning, width))
	}
	if s.Cluster == "" {
		return
	}
	fmt.Fprintln(out)
	s.printNodes(out, false)
	fmt.Fprintln(out)
	s.printShards(out)
	leader := s.Leader
	if leader == "" {
		leader = "nobody that is known"
	}
	fmt.Fprintf(out, "\ncluster %s as node %s sees it\n", s.Cluster, s.Asked)
	fmt.Fprintln(out, clip(fmt.Sprintf("changes are decided by %s; %s vote", leader, strings.Join(s.Voters, ", ")), width))
}

func (s *status) printNodes(out io.Writer, ids bool) {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprint(t, "NODE\tSTATE\tLEADS\tREPLICAS\tROLES\tADDRESS")
	if ids {
		fmt.Fprint(t, "\tUUID")
	}
	fmt.Fprintln(t)
	for i := range s.Nodes {
		n := &s.Nodes[i]
		fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%s\t%s", clip(n.Name, 16), n.label(), n.Leads, n.Replicas, n.Roles, clip(n.Address, 28))
		if ids {
			fmt.Fprintf(t, "\t%s", n.ID)
		}
		fmt.Fprintln(t)
	}
	t.Flush()
}

// label returns the node's state in one or two words.
func (n *nodeStatus) label() string {
	switch {
	case !n.Admitted:
		return "not admitted"
	case n.Leaving:
		return "leaving"
	case n.State == "lost", n.State == "waiting":
		return "not reached"
	case n.Maintenance:
		return "maintenance"
	case n.Draining:
		return "draining"
	case n.ClockOffset > 1, n.ClockOffset < -1:
		return "clock is off"
	case n.SlowDisk:
		return "slow disk"
	case n.DiskLow:
		return "disk is full"
	case n.MemoryFull:
		return "no memory"
	}
	return "up"
}

func (s *status) printShards(out io.Writer) {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "SHARD\tSLOTS\tLEADER\tREPLICAS")
	for i := range s.Shards {
		sh := &s.Shards[i]
		leader := sh.Leader
		if leader == "" {
			leader = "nobody"
		}
		var replicas []string
		for _, r := range sh.Replicas {
			text := clip(r.Node, 16)
			switch {
			case r.Stopped:
				text += " (stopped)"
			case r.Diverged:
				text += " (differs)"
			case r.Problem != "":
				text += " (not open)"
			case r.State == "learner", r.State == "new", r.State == "leaving":
				text += " (" + r.State + ")"
			case !r.Up:
				text += " (not reached)"
			case !r.CaughtUp:
				text += fmt.Sprintf(" (lacks %d)", r.Lag)
			}
			replicas = append(replicas, text)
		}
		fmt.Fprintf(t, "%d\t%d\t%s\t%s\n", sh.Shard, sh.Slots, clip(leader, 16), clip(strings.Join(replicas, ", "), 64))
	}
	t.Flush()
}
