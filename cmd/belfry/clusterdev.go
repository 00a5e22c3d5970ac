package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/belfry-im/belfry/cmd/belfry/internal/cli"
)

const (
	devClusterData  = "belfry-cluster"
	devClusterNodes = 3
	// Node i of a development cluster has these ports, plus devPortStep * i.
	devClientPort  = 8080
	devAdminPort   = 8081
	devClusterPort = 8082
	devPortStep    = 100
	// devStart bounds how long the nodes may take until all of them serve.
	devStart = time.Minute
)

func newClusterDevCommand() *cobra.Command {
	nodes, data := devClusterNodes, devClusterData
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run a cluster on this machine, to try out",
		Long: `Run several nodes of this program on loopback addresses until Ctrl-C, as
'belfry serve --dev' does with one, and print how to chat through two of them and
how to kill another. Their data stays in the folder of --data, with a log of each.`,
		Example: `  belfry cluster dev
  belfry cluster dev --nodes 5 --data /tmp/five`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, os.Interrupt)
			defer stop()
			program, err := os.Executable()
			if err != nil {
				return err
			}
			return newDevCluster(program, data, nodes).run(ctx, cmd.OutOrStdout())
		},
	}
	cmd.Flags().Var(cli.Count(&nodes, 1, maxFounders), "nodes", "number of nodes")
	cmd.Flags().StringVar(&data, "data", data, "folder for the data of all nodes")
	return cmd
}

// A devCluster is processes of this machine that are the nodes of a cluster.
type devCluster struct {
	program, data string
	nodes         []*devNode
}

// A devNode is one of them.
type devNode struct {
	name                  string
	listen, admin, others string // addresses
	args                  []string
	logFile               string

	process *exec.Cmd
	stdin   io.Closer
	ready   chan struct{} // closed once it serves
	ended   chan struct{} // closed once it has ended
	err     error         // of Wait; set before ended is closed
}

func newDevCluster(program, data string, nodes int) *devCluster {
	c := &devCluster{program: program, data: data}
	var all []string
	for i := range nodes {
		address := func(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port+i*devPortStep)) }
		name := string(rune('a' + i))
		n := &devNode{
			name: name, listen: address(devClientPort), admin: address(devAdminPort), others: address(devClusterPort),
			logFile: filepath.Join(data, name+".log"), ready: make(chan struct{}), ended: make(chan struct{}),
		}
		all = append(all, n.others)
		c.nodes = append(c.nodes, n)
	}
	for _, n := range c.nodes {
		n.args = []string{
			"serve", "--dev", "--node", n.name, "--data", filepath.Join(data, n.name), "--auth-secret-file", c.secretFile(), "--console-tokens",
			"--listen", n.listen, "--admin-listen", n.admin, "--cluster-listen", n.others,
			"--join", strings.Join(all, ","), "--bootstrap-expect", strconv.Itoa(nodes),
		}
	}
	return c
}

func (c *devCluster) secretFile() string { return filepath.Join(c.data, cli.SecretName) }

// run starts the nodes, prints how to try them, and ends them when ctx ends.
func (c *devCluster) run(ctx context.Context, out io.Writer) (err error) {
	if err := os.MkdirAll(c.data, 0o700); err != nil {
		return fmt.Errorf("--data: %w", err)
	}
	if err := ensureSecret(c.secretFile()); err != nil {
		return err
	}
	var watching sync.WaitGroup
	defer watching.Wait()
	defer func() { err = errors.Join(err, c.stop()) }()
	for _, n := range c.nodes {
		if err := n.start(c.program, &watching); err != nil {
			return err
		}
	}
	late := time.After(devStart)
	for _, n := range c.nodes {
		select {
		case <-n.ready:
		case <-n.ended:
			return fmt.Errorf("node %s has ended: %w; see %s", n.name, n.err, n.logFile)
		case <-late:
			return fmt.Errorf("node %s does not serve after %v; see %s", n.name, devStart, n.logFile)
		case <-ctx.Done():
			return nil
		}
	}
	c.explain(out)
	for _, n := range c.nodes {
		watching.Go(func() {
			<-n.ended
			if ctx.Err() == nil {
				fmt.Fprintf(out, "\nNode %s has ended (%v). The others go on. Start it again with:\n  %s\n", n.name, n.process.ProcessState, c.command(n))
			}
		})
	}
	<-ctx.Done()
	return nil
}

// start runs the node's process, whose end watching waits for.
func (n *devNode) start(program string, watching *sync.WaitGroup) error {
	log, err := os.OpenFile(n.logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() // the process has its own
	n.process = exec.Command(program, append(n.args, "--"+cli.UntilEOFFlag)...)
	n.process.Stderr = log
	if n.stdin, err = n.process.StdinPipe(); err != nil {
		return err
	}
	stdout, err := n.process.StdoutPipe()
	if err != nil {
		return err
	}
	if err := n.process.Start(); err != nil {
		return err
	}
	watching.Go(func() {
		lines := bufio.NewScanner(stdout)
		for served := false; lines.Scan(); {
			if !served && strings.HasPrefix(lines.Text(), "ready ") {
				served = true
				close(n.ready)
			}
		}
		if n.err = n.process.Wait(); n.err == nil {
			n.err = errors.New("exit status 0")
		}
		close(n.ended)
	})
	return nil
}

// stop ends the nodes that run, and waits for them.
func (c *devCluster) stop() error {
	var errs []error
	for _, n := range c.nodes {
		if n.process != nil && n.process.Process != nil {
			if err := n.stdin.Close(); !errors.Is(err, os.ErrClosed) { // it is once the process has ended
				errs = append(errs, err)
			}
		}
	}
	for _, n := range c.nodes {
		if n.process != nil && n.process.Process != nil {
			<-n.ended
		}
	}
	return errors.Join(errs...)
}

// command returns the command line of a node, to be pasted.
func (c *devCluster) command(n *devNode) string {
	words := []string{shellQuote(os.Args[0])}
	for _, arg := range n.args {
		words = append(words, shellQuote(arg))
	}
	return strings.Join(words, " ")
}

// explain prints what can be done with the nodes.
func (c *devCluster) explain(out io.Writer) {
	program := shellQuote(os.Args[0])
	fmt.Fprintf(out, "\n%s of a cluster run, open for development, to this machine only.\n", cli.Plural(len(c.nodes), "node"))
	for _, n := range c.nodes {
		fmt.Fprintf(out, "  %s  chat http://%s/  administration http://%s/docs  process %d  log %s\n", n.name, n.listen, n.admin, n.process.Process.Pid, n.logFile)
	}
	first, second, last := c.nodes[0], c.nodes[min(1, len(c.nodes)-1)], c.nodes[len(c.nodes)-1]
	fmt.Fprintf(out, `
Chat through two of them, each command in a terminal of its own:
  %[1]s chat --user alice --to bob --server http://%[2]s,http://%[3]s --data %[4]s
  %[1]s chat --user bob --to alice --server http://%[3]s,http://%[2]s --data %[4]s
`, program, first.listen, second.listen, shellQuote(c.data))
	if len(c.nodes) > 2 {
		fmt.Fprintf(out, `
Kill another one, and look how the chat goes on:
  kill -9 %d
`, last.process.Process.Pid)
	}
	fmt.Fprintf(out, "\nAsk any of them how the cluster does:\n  %s cluster status --admin http://%s\n\nCtrl-C ends all.\n", program, second.admin)
}
