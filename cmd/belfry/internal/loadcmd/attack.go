package loadcmd

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/belfry-im/belfry/cmd/belfry/internal/cli"
	"github.com/belfry-im/belfry/loadtest"
)

// attackCommand makes the command that `load siege` runs as its attacking
// process. It prints that it is prepared, attacks from the first line of its
// stdin until stdin ends, and prints its report.
func attackCommand() *cobra.Command {
	var o options
	var config loadtest.AttackConfig
	var admin adminClient
	var adminTokenFile, ca string
	cmd := &cobra.Command{
		Use:    "attack NAME",
		Short:  "What load siege starts to attack its server",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			config.Name = args[0]
			secret, err := o.secret()
			if err != nil {
				return err
			}
			token, err := os.ReadFile(adminTokenFile)
			if err != nil {
				return fmt.Errorf("--admin-token-file: %w", err)
			}
			admin.token, admin.client = firstField(string(token)), http.DefaultClient
			config.Server = loadtest.Server{URLs: o.servers, Token: signer(secret)}
			config.Prefix, config.Admin = o.prefix, admin.call
			if ca != "" {
				if config.Server.TLS, err = trust(ca); err != nil {
					return fmt.Errorf("--ca: %w", err)
				}
			}
			spendMemory()
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return attackWhileTold(ctx, config, cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
	fs := cmd.Flags()
	fs.StringSliceVar(&o.servers, "server", nil, "the server")
	fs.StringSliceVar(&o.secretFiles, "auth-secret-file", nil, "file with the secret that signs tokens")
	fs.StringVar(&o.prefix, "prefix", "", "begin of the users' names")
	fs.StringVar(&ca, "ca", "", "PEM file with the certificate to trust")
	fs.StringVar(&admin.url, "admin", "", "the server's address for administration")
	fs.StringVar(&adminTokenFile, "admin-token-file", "", "file with the token of an administrator")
	fs.Var(cli.Count(&config.Sockets, 0, loadtest.MaxUsers), "sockets", "connections that are held at a time; 0 = the attack's own")
	fs.Var(cli.Count(&config.Rate, 0, 1e6), "rate", "connections and requests per second; 0 = the attack's own")
	fs.Var(cli.Count(&config.Sources, 0, loadtest.MaxSources), "sources", "addresses it comes from; 0 = 250")
	return cmd
}

// prepared is the line that the attacking process prints once it can begin.
const prepared = "prepared"

func attackWhileTold(ctx context.Context, config loadtest.AttackConfig, told io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	begin := make(chan struct{})
	go func() {
		defer cancel() // stdin ends when the siege is over, or has died
		lines := bufio.NewScanner(told)
		if lines.Scan() {
			close(begin)
		}
		for lines.Scan() {
		}
	}()
	attack, err := loadtest.PrepareAttack(ctx, config)
	if err != nil {
		return err
	}
	defer attack.Close()
	fmt.Fprintln(out, prepared)
	select {
	case <-begin:
	case <-ctx.Done():
		return nil
	}
	report, err := attack.Run(ctx)
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(report)
}

// A siegeProcess is an attack in a process of its own, whose CPU and open files
// are not those of the users beside it.
type siegeProcess struct {
	cmd  *exec.Cmd
	tell io.WriteCloser
	out  *bufio.Reader
	errs strings.Builder
}

// prepareAttack starts a process that attacks s, and waits until it is prepared.
func prepareAttack(ctx context.Context, s *ownServer, name string, args []string) (*siegeProcess, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	all := []string{
		"load", "attack", name, "--server", s.url(), "--auth-secret-file", s.path("auth.secret"),
		"--admin", "http://" + s.adminListen, "--admin-token-file", s.path("admin.tokens"),
	}
	if s.shape.tls {
		all = append(all, "--ca", s.path(certName))
	}
	p := &siegeProcess{cmd: exec.CommandContext(ctx, program, append(all, args...)...)}
	p.cmd.Stderr = &p.errs
	if p.tell, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewReader(out)
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	line, err := p.out.ReadString('\n')
	if err != nil || strings.TrimSpace(line) != prepared {
		p.Close()
		return nil, fmt.Errorf("attack %s was not prepared: %s", name, p.errs.String())
	}
	return p, nil
}

// Run attacks until ctx ends.
func (p *siegeProcess) Run(ctx context.Context) (*loadtest.AttackReport, error) {
	if _, err := io.WriteString(p.tell, "begin\n"); err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	report := new(loadtest.AttackReport)
	go func() { ended <- json.NewDecoder(p.out).Decode(report) }()
	select {
	case err := <-ended:
		return nil, errors.Join(fmt.Errorf("the attack ended by itself: %s", p.errs.String()), err)
	case <-ctx.Done():
	}
	p.tell.Close()
	if err := <-ended; err != nil {
		return nil, fmt.Errorf("report of the attack: %w: %s", err, p.errs.String())
	}
	return report, nil
}

// Close ends the process.
func (p *siegeProcess) Close() {
	p.tell.Close()
	_ = p.cmd.Process.Kill() // fails only on a process that has ended
	_ = p.cmd.Wait()         // what it did is in its report
}
