package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/harness"
	"github.com/belfry-im/belfry/cmd/belfry/e2e/wstest"
)

func TestMain(m *testing.M) { harness.Main(m) }

// A run is one scenario with one SDK. Its methods end the scenario by a panic with a
// failure, which play turns into an error: a test expects some SDKs to fail.
type run struct {
	t       *testing.T
	s       *harness.Server
	sdk     sdk
	prefix  string // of all users of this scenario, so that scenarios share a server
	folder  string
	devices []*device
}

// An sdk is what is tried.
type sdk struct {
	command []string
	retells bool // it tells the handler of messages again what ran when it was killed; others have a handler of its own for that
}

type failure struct{ error }

func (r *run) failf(format string, args ...any) {
	panic(failure{fmt.Errorf(format, args...)})
}

func (r *run) must(err error, what string) {
	if err != nil {
		r.failf("%s: %w", what, err)
	}
}

func (r *run) equal(what string, got, want any) {
	if !reflect.DeepEqual(got, want) {
		r.failf("%s: %v, want %v", what, got, want)
	}
}

func wait() (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(context.Background(), wstest.Patience, errors.New("not in time"))
}

// A scenario is a rule, or several, that an SDK has to keep.
type scenario struct {
	name  string
	flags []string // of a server of its own
	play  func(r *run)
}

// play runs one scenario and returns what the SDK did wrong.
func play(t *testing.T, shared *harness.Server, of sdk, sc scenario) (err error) {
	t.Helper()
	s := shared
	if sc.flags != nil {
		s = harness.Start(t, sc.flags...)
	}
	r := &run{t: t, s: s, sdk: of, prefix: prefix(t.Name()), folder: t.TempDir()}
	defer func() {
		if p := recover(); p != nil {
			f, ok := p.(failure)
			if !ok {
				panic(p)
			}
			err = f.error
		}
		for _, d := range r.devices {
			if e := d.end(err == nil); err == nil {
				err = e
			}
		}
		if err != nil {
			for _, d := range r.devices {
				t.Log(d.history())
			}
		}
	}()
	sc.play(r)
	return nil
}

// prefix makes a short name of a test's, unlike others'.
func prefix(name string) string {
	sum := uint32(2166136261)
	for _, b := range []byte(name) {
		sum = (sum ^ uint32(b)) * 16777619
	}
	return fmt.Sprintf("%08x.", sum)
}

// user is the name of a user of this scenario.
func (r *run) user(name string) string { return r.prefix + name }

// conv is the conversation with a user of this scenario.
func (r *run) conv(name string) string { return "u:" + r.user(name) }

// peer is a device that is not the SDK's, logged in and synced.
func (r *run) peer(name string) *wstest.Client {
	c := r.s.Login(r.t, r.user(name), "peer", wstest.Obj{"recents": "off"})
	c.Sync()
	return c
}

// says has a peer send texts to a conversation: each is the cid and the body.
func (r *run) says(c *wstest.Client, conv string, texts ...string) {
	for _, text := range texts {
		c.Request("send", wstest.Obj{"conv": conv, "cid": text, "body": wstest.Obj{"text": text}})
	}
}

// numbered is prefix and the numbers from 1 to n.
func numbered(prefix string, n int) (list []string) {
	for i := range n {
		list = append(list, fmt.Sprintf("%s%d", prefix, i+1))
	}
	return list
}

// A device is one device of a user, with the SDK under test.
type device struct {
	r       *run
	user    string
	name    string
	proxy   *Proxy
	driver  *Driver // nil while it does not run
	options Obj
	log     *harness.LogTail
	token   func(reason string) (string, error)
	// events are those of earlier processes.
	events []Obj
	// repeats allows that messages are handed over again, as after a reset.
	repeats bool
}

// device returns a device with a store of its own that is not open. options are those of
// the command open.
func (r *run) device(user, name string, options Obj) *device {
	proxy, err := NewProxy(r.s.URL)
	r.must(err, "proxy")
	d := &device{r: r, user: r.user(user), name: name, proxy: proxy, log: &harness.LogTail{}}
	d.token = func(string) (string, error) { return r.s.Token(d.user), nil }
	d.options = Obj{
		"url": proxy.URL(), "user": d.user, "device": name,
		"store": filepath.Join(r.folder, fmt.Sprintf("%s-%s-%d", user, name, len(r.devices))),
	}
	for k, v := range options {
		d.options[k] = v
	}
	if d.options["store"] == nil || d.options["withoutStorage"] == true {
		proxy.Storeless()
	}
	r.devices = append(r.devices, d)
	return d
}

// open starts the driver and the SDK in it.
func (d *device) open() *device {
	if d.driver == nil {
		driver, err := StartDriver(d.r.sdk.command, func(cmd *exec.Cmd) {
			cmd.Stderr = d.log
			harness.DieWithTests(cmd)
		}, func(reason string) (string, error) { return d.token(reason) })
		d.r.must(err, "starting the driver")
		d.driver = driver
	}
	d.do("open", d.options)
	return d
}

// synced opens the device and waits until it has synced.
func (d *device) synced() *device {
	before := d.count("synced")
	d.open()
	d.await("synced", func() bool { return d.count("synced") > before })
	return d
}

// resynced waits until the device has synced once more than before.
func (d *device) resynced(before int) {
	d.await("synced again", func() bool { return d.count("synced") > before })
}

// crash kills the process.
func (d *device) crash() {
	d.driver.Kill()
	d.events = append(append(d.events, d.driver.Events()...), Obj{"on": crashed})
	d.driver = nil
}

// crashed is among a device's events where its process was killed.
const crashed = "crashed"

// quit ends the SDK and the process in order.
func (d *device) quit() {
	d.do("close", nil)
	ctx, cancel := wait()
	defer cancel()
	d.r.must(d.driver.Quit(ctx), "ending the driver")
	d.events = append(d.events, d.driver.Events()...)
	d.driver = nil
}

// end cleans up, and returns what was wrong in the whole life of the device.
func (d *device) end(clean bool) error {
	if d.driver != nil {
		if clean {
			ctx, cancel := wait()
			defer cancel()
			if err := d.driver.Quit(ctx); err != nil {
				return err
			}
		} else {
			d.driver.Kill()
		}
		d.events = append(d.events, d.driver.Events()...)
		d.driver = nil
	}
	d.proxy.Close()
	if v := d.proxy.Violations(); len(v) > 0 {
		return fmt.Errorf("%s: %s", d.name, strings.Join(v, "\n"))
	}
	seen := make(map[string]bool)
	for _, m := range d.messages() {
		id, _ := m["id"].(string)
		if seen[id] && !d.repeats {
			return fmt.Errorf("%s: the message %v was handed over twice", d.name, m)
		}
		seen[id] = true
	}
	return nil
}

// history is what a failure shows of the device.
func (d *device) history() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s/%s\n", d.user, d.name)
	for _, f := range d.proxy.Frames(0, func(*Frame) bool { return true }) {
		fmt.Fprintln(&b, f)
	}
	for _, e := range d.events {
		line, _ := json.Marshal(e)
		fmt.Fprintf(&b, "%.400s\n", line)
	}
	fmt.Fprintf(&b, "stderr: %s", d.log)
	return b.String()
}

// try runs a command.
func (d *device) try(do string, args Obj) (Obj, error) {
	ctx, cancel := wait()
	defer cancel()
	n, err := d.driver.Start(do, args)
	if err != nil {
		return nil, err
	}
	return d.driver.Result(ctx, n)
}

// do runs a command that has to succeed.
func (d *device) do(do string, args Obj) Obj {
	result, err := d.try(do, args)
	d.r.must(err, fmt.Sprintf("%s: %s %v", d.name, do, args))
	return result
}

// refused runs a command that has to fail with a code.
func (d *device) refused(do string, args Obj, code string) {
	_, err := d.try(do, args)
	if refusal, ok := errors.AsType[*Refusal](err); !ok || refusal.Code != code {
		d.r.failf("%s: %s %v: %v, want %s", d.name, do, args, err, code)
	}
}

// all returns the events of all processes so far.
func (d *device) all() []Obj {
	if d.driver == nil {
		return d.events
	}
	return append(slices.Clone(d.events), d.driver.Events()...)
}

// on returns the events of one kind.
func (d *device) on(kind string) (list []Obj) {
	for _, e := range d.all() {
		if e["on"] == kind {
			list = append(list, e)
		}
	}
	return list
}

func (d *device) count(kind string) int { return len(d.on(kind)) }

// await waits until is returns true, which is asked after each event.
func (d *device) await(what string, is func() bool) {
	ctx, cancel := wait()
	defer cancel()
	d.r.must(d.driver.Await(ctx, is), fmt.Sprintf("%s/%s: %s", d.user, d.name, what))
}

// awaitFrame waits until the proxy has seen n frames that match.
func (d *device) awaitFrame(what string, n int, match func(*Frame) bool) {
	ctx, cancel := wait()
	defer cancel()
	d.r.must(d.proxy.Await(ctx, func() bool { return len(d.proxy.Frames(0, match)) >= n }), d.name+": "+what)
}

// messages are those handed over. The call of a handler that was running when its process
// was killed may come again, as the first one of the next process: nobody can tell from
// outside whether it had ended. It is counted once.
func (d *device) messages() (list []Obj) {
	var last, running []Obj
	for _, e := range d.all() {
		switch e["on"] {
		case crashed:
			last, running = nil, last
		case "messages":
			of := objects(e["messages"])
			if !d.r.sdk.retells || !sameMessages(of, running) {
				list = append(list, of...)
			}
			last, running = of, nil
		}
	}
	return list
}

func sameMessages(a, b []Obj) bool {
	return slices.EqualFunc(a, b, func(a, b Obj) bool { return a["id"] == b["id"] })
}

// cids are those of messages handed over, from a user unless that is empty.
func (d *device) cids(from string) []string {
	list := []string{}
	for _, m := range d.messages() {
		if from == "" || m["from"] == from {
			list = append(list, m["cid"].(string))
		}
	}
	return list
}

// gets waits until the messages with these cids were handed over, and no others.
func (d *device) gets(cids ...string) {
	d.await(fmt.Sprintf("messages %v", cids), func() bool { return len(d.messages()) >= len(cids) })
	d.r.equal(d.name+": messages handed over", d.cids(""), append([]string{}, cids...))
}

// settled waits for the outcome of a message that was sent.
func (d *device) settled(conv, cid string) Obj {
	var found Obj
	d.await("outcome of "+cid, func() bool {
		for _, e := range d.on("settled") {
			if e["conv"] == conv && e["cid"] == cid {
				found = e
			}
		}
		return found != nil
	})
	return found
}

// state waits until the newest state of the SDK is this one, and returns its event.
func (d *device) state(want string) Obj {
	var last Obj
	d.await("state "+want, func() bool {
		states := d.on("state")
		if len(states) == 0 {
			return false
		}
		last = states[len(states)-1]
		return last["state"] == want
	})
	return last
}

// local is a page of what the device has stored.
func (d *device) local(conv string) page {
	return pageOf(d.do("localMessages", Obj{"conv": conv, "limit": 100}))
}

// get is a page, as the application asks for it.
func (d *device) get(conv string, args Obj) page {
	with := Obj{"conv": conv, "limit": 100}
	for k, v := range args {
		with[k] = v
	}
	return pageOf(d.do("getMessages", with))
}

// conversation is the entry of the list, nil if there is none.
func (d *device) conversation(conv string) Obj {
	for _, c := range objects(d.do("conversations", nil)["conversations"]) {
		if c["conv"] == conv {
			return c
		}
	}
	return nil
}

// lists waits until the list of conversations has this number for a conversation. What
// an SDK shows may be a moment behind what it has stored.
func (d *device) lists(conv, field string, want int64) {
	d.r.eventually(fmt.Sprintf("%s: %s of %s is %d", d.name, field, conv, want), func() bool {
		c := d.conversation(conv)
		return c != nil && Int(c[field]) == want
	})
}

// unlists waits until the list has no such conversation.
func (d *device) unlists(conv string) {
	d.r.eventually(fmt.Sprintf("%s: %s is not in the list", d.name, conv), func() bool { return d.conversation(conv) == nil })
}

// requests returns the args of all requests with an op that went out since mark.
func (d *device) requests(mark int, op string) (list []Obj) {
	for _, f := range d.proxy.Frames(mark, func(f *Frame) bool { return f.FromClient && f.Op == op }) {
		list = append(list, f.Body)
	}
	return list
}

// fetched are the seqs of a conversation that pages have covered since mark.
func (d *device) fetched(mark int, conv string) (seqs []int64) {
	pages := d.proxy.Frames(mark, func(f *Frame) bool {
		return f.Reply && f.Op == "getMessage" && f.Code == "" && f.request.Body["conv"] == conv
	})
	for _, f := range pages {
		for seq := Int(f.Body["from"]); seq <= Int(f.Body["to"]) && seq > 0; seq++ {
			seqs = append(seqs, seq)
		}
	}
	slices.Sort(seqs)
	return seqs
}

// A page is what getMessages and localMessages return.
type page struct {
	messages []Obj
	gaps     []Obj
	more     bool
}

func pageOf(v Obj) page {
	more, _ := v["more"].(bool)
	return page{objects(v["messages"]), objects(v["gaps"]), more}
}

func (p page) cids() []string {
	list := []string{}
	for _, m := range p.messages {
		list = append(list, m["cid"].(string))
	}
	return list
}

func (p page) seqs() []int64 {
	list := []int64{}
	for _, m := range p.messages {
		list = append(list, Int(m["seq"]))
	}
	return list
}

// reason is why a seq has no message; empty if no gap names it.
func (p page) reason(seq int64) string {
	for _, g := range p.gaps {
		if Int(g["from"]) <= seq && seq <= Int(g["to"]) {
			return g["reason"].(string)
		}
	}
	return ""
}

func objects(v any) (list []Obj) {
	all, _ := v.([]any)
	for _, e := range all {
		list = append(list, e.(Obj))
	}
	return list
}

// pause is the time between two looks at something that no event announces.
const pause = 20 * time.Millisecond

// eventually asks until is returns true.
func (r *run) eventually(what string, is func() bool) {
	for deadline := time.Now().Add(wstest.Patience); !is(); time.Sleep(pause) {
		if time.Now().After(deadline) {
			r.failf("not in time: %s", what)
		}
	}
}
