// Package chatui implements `belfry chat`: a chat in the terminal, on the whole
// screen or by lines in a pipe. A model holds the state and carries out what is
// entered; the screen and the lines are two views of it.
package chatui

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/belfry-im/belfry/client"
	"github.com/belfry-im/belfry/cmd/belfry/internal/cli"
	"github.com/belfry-im/belfry/gateway/protocol"
)

const (
	defaultServer = "http://127.0.0.1:8080"
	// farewellTime bounds how long the chat, at its end, waits for messages to be
	// stored.
	farewellTime = 5 * time.Second
)

// options hold the flags of belfry chat.
type options struct {
	user, to, token, device, data string
	store                         string // folder; empty = nothing is kept
	servers                       []string
}

func NewCommand() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "chat --user NAME",
		Short: "Chat from the terminal",
		Long: `Chat from the terminal.

On a terminal it takes the whole screen. With its input or output in a pipe it
works by lines: each line in is sent, each message that comes is printed, and
it ends with the input once all of it has been stored, or with an error if it
has had no connection for 30 s by then. A line that begins with
a slash is a command; /help lists them. Two slashes begin a message with one.

Without --token it signs a token itself, with the secret that ` + "`belfry serve --dev`" + `
has put into the data folder.`,
		Example: `  belfry chat --user alice
  belfry chat --user alice --to bob --server https://chat.example.org --token "$TOKEN"
  echo "the build is done" | belfry chat --user builder --to alice`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return err
			}
			return o.run(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.user, "user", "", "who you are")
	f.StringVar(&o.to, "to", "", "whom to talk to first: a user, or g:GROUP")
	f.StringSliceVar(&o.servers, "server", []string{defaultServer}, "URL of the server; of a cluster those of several nodes, to go on at another")
	f.StringVar(&o.token, "token", "", "login token; empty signs one with the data folder's secret")
	f.StringVar(&o.device, "device", "", "name of this device, for its sessions to replace each other; empty makes one up")
	f.StringVar(&o.store, "store", "", "folder for messages and for what waits to be sent, a file per user and server; shown without a connection, too; empty keeps nothing")
	f.StringVar(&o.data, "data", cli.DefaultData, "data folder of a development server")
	return cmd
}

func (o *options) check() error {
	if o.user == "" {
		return cli.Usagef("--user: want the user that you are")
	}
	if err := cli.CheckUser(o.user); err != nil {
		return cli.Usagef("--user: %w", err)
	}
	if o.to != "" {
		if _, err := parseConv(o.to); err != nil {
			return cli.Usagef("--to: %w", err)
		}
	}
	if len(o.servers) == 0 {
		return cli.Usagef("--server: want at least one URL")
	}
	if len(o.device) > 64 {
		return cli.Usagef("--device: want at most 64 bytes")
	}
	if o.device == "" && o.store == "" { // a store has one of its own
		o.device = "chat-" + rand.Text()[:8]
	}
	return nil
}

// login returns a token for the client: that of the command line, or a fresh one of
// the development server.
func (o *options) login(context.Context, client.TokenReason) (string, error) {
	if o.token != "" {
		return o.token, nil
	}
	return cli.DevToken(o.data, o.user, cli.TokenTTL)
}

func (o *options) run(ctx context.Context, in io.Reader, out io.Writer) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt)
	defer stop()
	if _, err := o.login(ctx, client.TokenLogin); err != nil {
		return err // at once, instead of trying again and again
	}
	m := newModel(o.user)
	if o.to != "" {
		m.current, _ = parseConv(o.to) // checked before
	}
	// Jobs go on after the screen has ended, for the lines entered last.
	jobs, cancel := context.WithCancel(context.Background())
	defer cancel()

	cfg := client.Config{
		URL: o.servers[0], MoreURLs: o.servers[1:], Token: o.login, Device: o.device, Platform: "terminal",
		ManualRead: true, // what is on the screen is read, not what has arrived
	}
	if o.store != "" {
		cfg.Store = client.File(filepath.Join(o.store, storeName(o.user, o.servers[0])))
	}
	var post func(any)
	var show func() error
	inFile, outFile, screen := terminal(in, out)
	if screen {
		ui := &tui{model: m, ctx: jobs}
		ui.screen.colours = palette(os.Getenv("NO_COLOR") == "")
		program := tea.NewProgram(ui, tea.WithContext(ctx), tea.WithInput(inFile), tea.WithOutput(outFile))
		post = func(e any) { program.Send(e) }
		show = func() error {
			_, err := program.Run()
			if errors.Is(err, tea.ErrInterrupted) || ctx.Err() != nil {
				err = nil
			}
			return err
		}
	} else {
		cfg.Recents = protocol.RecentsQuiet // what was read before is no news to a script
		events := make(chan any)
		post = func(e any) {
			select {
			case events <- e:
			case <-jobs.Done():
			}
		}
		show = func() error { return runLines(ctx, m, events, in, out) }
	}

	m.handlers(&cfg, post)
	net, err := client.New(cfg)
	if _, ok := errors.AsType[*client.StoreError](err); ok {
		return err
	}
	if err != nil {
		return cli.Usagef("--server: %w", err)
	}
	defer func() {
		net.Close()
		cancel() // of handlers that wait to be heard
		if o.store != "" {
			<-net.Done() // the file is free then
		}
	}()
	m.net = net
	if screen {
		m.showStored()
	}
	if err := show(); errors.Is(err, errNoServer) {
		return fmt.Errorf("%w for %v: %w", err, patience, cmp.Or(net.Err(), client.ErrOffline))
	} else if err != nil {
		return err
	}
	m.farewell(jobs)
	return m.ended
}

// storeName names the file of a user of a server.
func storeName(user, server string) string {
	if u, err := url.Parse(server); err == nil {
		server = u.Host
	}
	return url.PathEscape(user+"@"+server) + ".db"
}

// terminal returns input and output as files, and reports whether both are
// terminals.
func terminal(in io.Reader, out io.Writer) (*os.File, *os.File, bool) {
	inFile, ok1 := in.(*os.File)
	outFile, ok2 := out.(*os.File)
	return inFile, outFile, ok1 && ok2 && term.IsTerminal(int(inFile.Fd())) && term.IsTerminal(int(outFile.Fd()))
}
