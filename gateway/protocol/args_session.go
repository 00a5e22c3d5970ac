package protocol

// Recents modes of a login.
const (
	RecentsOn    = "on"    // list, and push the last message of each
	RecentsQuiet = "quiet" // list only
	RecentsOff   = "off"   // neither
)

// A GroupCursor is where a device stands in one group.
type GroupCursor struct {
	Group  string
	Cursor string // opaque
}

// LoginArgs are the args of login. Decode fills in the defaults of what is
// absent; whoever encodes sets AutoRead, Recents and GroupBacklog himself.
type LoginArgs struct {
	Token        string
	Device       string
	Platform     string // "" = none named
	HasSince     bool
	Since        string        // the cursor as the client gave it, any text
	Groups       []GroupCursor // no group twice
	AutoRead     bool          // default true
	Recents      string        // RecentsOn, RecentsQuiet or RecentsOff; default on
	GroupBacklog int           // messages per group, 0-100, default 20
}

// AckArgs are the args of the notice ack.
type AckArgs struct {
	D uint64 // all frames up to this delivery number are held; at least 1
}

// RefreshTokenArgs are the args of refreshToken.
type RefreshTokenArgs struct {
	Token string
}

// SetStateArgs are the args of setState.
type SetStateArgs struct {
	Background bool
}

// NoArgs are the args of ops that take none: ping, logout, getRecents,
// getBlocked.
type NoArgs struct{}

// Decode reads the args of a login. Its errors are *FieldError.
func (a *LoginArgs) Decode(args Raw) error {
	*a = LoginArgs{AutoRead: true, Recents: RecentsOn, GroupBacklog: DefaultBacklog}
	d := args.decoder()
	hasToken := false
	for o := d.object(); d.next(&o); {
		switch string(o.key) {
		case "token":
			a.Token, hasToken = d.text(0, MaxToken), true
		case "device":
			a.Device = d.text(1, MaxDeviceLen)
		case "platform":
			a.Platform = d.text(0, MaxPlatformLen)
		case "since":
			a.Since, a.HasSince = d.text(0, MaxFrame), true
		case "groups":
			a.Groups = d.groupCursors(MaxLoginGroups)
		case "autoRead":
			a.AutoRead = d.bool()
		case "recents":
			a.Recents = d.oneOf("must be on, quiet or off", RecentsOn, RecentsQuiet, RecentsOff)
		case "groupBacklog":
			a.GroupBacklog = int(d.uint(0, MaxGroupBacklog))
		default:
			d.skip()
		}
	}
	d.require("token", hasToken)
	d.require("device", a.Device != "")
	return d.err
}

func (a *LoginArgs) encode(e *encoder) {
	e.textField("token", a.Token)
	e.textField("device", a.Device)
	e.optText("platform", a.Platform)
	if a.HasSince {
		e.textField("since", a.Since)
	}
	e.groupCursors("groups", a.Groups)
	e.boolField("autoRead", a.AutoRead)
	e.optText("recents", a.Recents)
	e.uintField("groupBacklog", uint64(a.GroupBacklog))
}

// Decode reads the args of an ack. Its errors are *FieldError.
func (a *AckArgs) Decode(args Raw) error {
	*a = AckArgs{}
	d := args.decoder()
	for o := d.object(); d.next(&o); {
		switch string(o.key) {
		case "d":
			a.D = d.uint(1, MaxInt)
		default:
			d.skip()
		}
	}
	d.require("d", a.D != 0)
	return d.err
}

func (a *AckArgs) encode(e *encoder) { e.uintField("d", a.D) }

// Decode reads the args of a refreshToken. Its errors are *FieldError.
func (a *RefreshTokenArgs) Decode(args Raw) error {
	*a = RefreshTokenArgs{}
	d := args.decoder()
	hasToken := false
	for o := d.object(); d.next(&o); {
		switch string(o.key) {
		case "token":
			a.Token, hasToken = d.text(0, MaxToken), true
		default:
			d.skip()
		}
	}
	d.require("token", hasToken)
	return d.err
}

func (a *RefreshTokenArgs) encode(e *encoder) { e.textField("token", a.Token) }

// Decode reads the args of a setState. Its errors are *FieldError.
func (a *SetStateArgs) Decode(args Raw) error {
	*a = SetStateArgs{}
	d := args.decoder()
	has := false
	for o := d.object(); d.next(&o); {
		switch string(o.key) {
		case "background":
			a.Background, has = d.bool(), true
		default:
			d.skip()
		}
	}
	d.require("background", has)
	return d.err
}

func (a *SetStateArgs) encode(e *encoder) { e.boolField("background", a.Background) }

// Decode checks that args are a map or absent. Its errors are *FieldError.
func (a *NoArgs) Decode(args Raw) error {
	d := args.decoder()
	for o := d.object(); d.next(&o); {
		d.skip()
	}
	return d.err
}

func (a *NoArgs) encode(*encoder) {}
