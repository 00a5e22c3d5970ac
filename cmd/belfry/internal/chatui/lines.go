package chatui

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/belfry-im/belfry/client"
)

// maxLine bounds a line of the input. A longer one ends the chat, because its
// rest would be taken for lines of their own.
const maxLine = 64 << 10

// maxAhead bounds the lines that are read before they can be carried out. With more of them
// the end of the input is not seen before.
const maxAhead = 1000

// patience is how long a chat whose input has ended waits for a connection: a server that
// is being restarted is back by then.
const patience = 30 * time.Second

// errNoServer ends a chat without a connection.
var errNoServer = errors.New("not all of the input was carried out: no connection")

// runLines runs a chat for pipes, scripts and terminals without a screen: each
// line of input is a message or a command, each line of output something that
// happened. It ends at the end of the input, once all lines have been
// answered; with errNoServer if it has no connection then for the time of patience.
func runLines(ctx context.Context, m *model, events <-chan any, in io.Reader, out io.Writer) error {
	m.talks = true
	ctx, cancel := context.WithCancel(ctx)
	var loops sync.WaitGroup
	defer loops.Wait()
	defer cancel()

	lines := make(chan string, maxAhead)
	atEnd := make(chan struct{}) // closed at the end of the input
	var readErr error
	input := lines
	go func() { // not waited for: a read of a pipe cannot be broken off
		defer close(input)
		defer close(atEnd)
		scan := bufio.NewScanner(in)
		scan.Buffer(nil, maxLine)
		for scan.Scan() {
			select {
			case input <- scan.Text():
			case <-ctx.Done():
				return
			}
		}
		readErr = scan.Err()
	}()

	results := make(chan any)
	running := 0
	start := func(jobs []job) {
		for _, job := range jobs {
			running++
			loops.Go(func() {
				select {
				case results <- job(ctx):
				case <-ctx.Done():
				}
			})
		}
	}
	var farewell <-chan time.Time // set once the user has had enough
	var givenUp <-chan time.Time  // set at the end of the input, without a connection
	inputEnds := atEnd            // nil once that is known
	for {
		for _, note := range m.notes {
			if _, err := fmt.Fprintln(out, printable(note)); err != nil {
				return fmt.Errorf("write: %w", err)
			}
		}
		m.notes = nil
		if m.quit && farewell == nil {
			farewell = time.After(farewellTime)
			lines = nil
		}
		if lines == nil && running == 0 || m.ended != nil {
			return nil
		}
		switch {
		case inputEnds != nil || m.state == client.StateOnline:
			givenUp = nil
		case givenUp == nil:
			givenUp = time.After(patience)
		}
		// Each line is carried out before the next is read, so that a script may
		// recall what it has just sent. None is read before the client has synced,
		// because the first line may ask who has written.
		ready := lines
		if !m.synced || running > 0 {
			ready = nil
		}
		select {
		case line, ok := <-ready:
			if !ok {
				if readErr != nil {
					return fmt.Errorf("read: %w", readErr)
				}
				lines = nil
				continue
			}
			start(m.enter(line))
		case e := <-events:
			start(m.apply(e))
		case e := <-results:
			running--
			start(m.apply(e))
		case <-inputEnds:
			inputEnds = nil
		case <-givenUp:
			return errNoServer
		case <-farewell:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}
