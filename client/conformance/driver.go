package conformance

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"sync"
)

// maxLine bounds a line of a driver, in bytes.
const maxLine = 16 << 20

// A Refusal is the err of a command.
type Refusal struct {
	Code    string
	Message string
}

func (r *Refusal) Error() string { return r.Code + ": " + r.Message }

// A Driver is a process with an SDK in it. See README.md for what goes in and out.
type Driver struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	ended chan struct{} // closed when its stdout has ended and the process is gone
	// token answers a request for a token; an error refuses it.
	token func(reason string) (string, error)

	write   sync.Mutex
	mu      sync.Mutex
	changed chan struct{}
	n       int
	replies map[int64]Obj
	events  []Obj
	broken  error // why its output could not be read
}

// StartDriver starts a driver process. prepare may set up cmd before that.
func StartDriver(command []string, prepare func(*exec.Cmd), token func(reason string) (string, error)) (*Driver, error) {
	cmd := exec.Command(command[0], command[1:]...)
	prepare(cmd)
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	d := &Driver{
		cmd: cmd, in: in, ended: make(chan struct{}), token: token,
		changed: make(chan struct{}), replies: make(map[int64]Obj),
	}
	go d.read(out)
	return d, nil
}

func (d *Driver) read(out io.Reader) {
	defer close(d.ended)
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		var line Obj
		decoder := json.NewDecoder(strings.NewReader(lines.Text()))
		decoder.UseNumber()
		if err := decoder.Decode(&line); err != nil {
			d.update(func() { d.broken = fmt.Errorf("a line that is no JSON object: %.200s", lines.Text()) })
			continue
		}
		if line["on"] == "token" {
			d.answerToken(line)
			continue
		}
		d.update(func() {
			if line["on"] != nil {
				d.events = append(d.events, line)
			} else {
				d.replies[Int(line["n"])] = line
			}
		})
	}
	d.cmd.Wait() // how it ended is the test's doing
	d.update(func() {
		if d.broken == nil {
			d.broken = fmt.Errorf("the driver has ended: %v", d.cmd.ProcessState)
		}
	})
}

func (d *Driver) answerToken(event Obj) {
	reason, _ := event["reason"].(string)
	answer := Obj{"do": "token", "for": event["for"]}
	if token, err := d.token(reason); err != nil {
		answer["refuse"] = err.Error()
	} else {
		answer["token"] = token
	}
	d.line(answer)
	d.update(func() { d.events = append(d.events, event) })
}

func (d *Driver) update(change func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change()
	close(d.changed)
	d.changed = make(chan struct{})
}

func (d *Driver) line(v Obj) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	d.write.Lock()
	defer d.write.Unlock()
	_, err = d.in.Write(append(b, '\n'))
	return err
}

// Start begins a command and returns its number.
func (d *Driver) Start(do string, args Obj) (int64, error) {
	d.mu.Lock()
	d.n++
	n := int64(d.n)
	d.mu.Unlock()
	line := Obj{"n": n, "do": do}
	for k, v := range args {
		line[k] = v
	}
	return n, d.line(line)
}

// Result waits for the result of a command. A refusal is a *Refusal.
func (d *Driver) Result(ctx context.Context, n int64) (Obj, error) {
	var reply Obj
	err := d.Await(ctx, func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		reply = d.replies[n]
		return reply != nil
	})
	if err != nil {
		return nil, err
	}
	if e, ok := reply["err"].(Obj); ok {
		r := &Refusal{}
		r.Code, _ = e["code"].(string)
		r.Message, _ = e["message"].(string)
		return nil, r
	}
	result, _ := reply["ok"].(Obj)
	return result, nil
}

// Await waits until is returns true; it is asked after each line of the driver.
func (d *Driver) Await(ctx context.Context, is func() bool) error {
	for {
		d.mu.Lock()
		changed, broken := d.changed, d.broken
		d.mu.Unlock()
		switch {
		case is():
			return nil
		case broken != nil:
			return broken
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Events returns all events so far.
func (d *Driver) Events() []Obj {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.events)
}

// Kill ends the process as a power cut would.
func (d *Driver) Kill() {
	d.cmd.Process.Kill()
	d.in.Close()
	<-d.ended
}

// Quit closes the driver's stdin and waits until it has ended.
func (d *Driver) Quit(ctx context.Context) error {
	d.in.Close()
	select {
	case <-d.ended:
	case <-ctx.Done():
		d.Kill()
		return fmt.Errorf("the driver does not end when its stdin does: %w", ctx.Err())
	}
	if code := d.cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("the driver's exit code is %d", code)
	}
	return nil
}
