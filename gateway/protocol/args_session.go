package protocol

// A GroupCursor is the cursor of a device in one group.
type GroupCursor struct {
	Group  string
	Cursor string // opaque
}

// LoginArgs are the args of login. Decode sets the defaults of absent fields;
// for encoding, AutoRead, Recents and GroupBacklog must be set.
type LoginArgs struct {
	Token        string
	Device       string
	Platform     string // "" = none named
	HasSince     bool
	Since        string        // the cursor, as the client gave it: any text
	Groups       []GroupCursor // no group twice
	AutoRead     bool          // default true
	Recents      string        // RecentsOn, RecentsQuiet or RecentsOff; default on
	GroupBacklog int           // messages per group, 0-100, default 20
}

// Decode reads the args of a login. Its errors are *FieldError.
func (a *LoginArgs) Decode(args Raw) error {
	*a = LoginArgs{AutoRead: true, Recents: RecentsOn, GroupBacklog: DefaultBacklog}
	return args.read(a)
}

func (a *LoginArgs) encode(e *encoder) { e.record(a) }

func (a *LoginArgs) fields(x *fields) {
	x.text("token", &a.Token, 0, MaxToken, required)
	x.text("device", &a.Device, 1, MaxDeviceLen, required)
	x.text("platform", &a.Platform, 0, MaxPlatformLen, optional)
	x.givenText("since", &a.Since, &a.HasSince, 0, MaxFrame)
	x.groupCursors("groups", &a.Groups, MaxLoginGroups)
	x.bool("autoRead", &a.AutoRead, always)
	x.word("recents", &a.Recents, RecentsModes, optional)
	number(x, "groupBacklog", &a.GroupBacklog, 0, MaxGroupBacklog, always)
}

// AckArgs are the args of the notice ack.
type AckArgs struct {
	D uint64 // the client has received all frames up to this delivery number; at least 1
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

// RefreshTokenArgs are the args of refreshToken.
type RefreshTokenArgs struct {
	Token string
}

// Decode reads the args of a refreshToken. Its errors are *FieldError.
func (a *RefreshTokenArgs) Decode(args Raw) error { return decode(args, a) }
func (a *RefreshTokenArgs) encode(e *encoder)     { e.record(a) }
func (a *RefreshTokenArgs) fields(x *fields)      { x.text("token", &a.Token, 0, MaxToken, required) }

// SetStateArgs are the args of setState.
type SetStateArgs struct {
	Background bool
}

// Decode reads the args of a setState. Its errors are *FieldError.
func (a *SetStateArgs) Decode(args Raw) error { return decode(args, a) }
func (a *SetStateArgs) encode(e *encoder)     { e.record(a) }
func (a *SetStateArgs) fields(x *fields)      { x.bool("background", &a.Background, required) }

// NoArgs are the args of ops that take none: ping, logout, getRecents,
// getBlocked.
type NoArgs struct{}

// Decode checks that args are a map or absent. Its errors are *FieldError.
func (a *NoArgs) Decode(args Raw) error { return decode(args, a) }
func (a *NoArgs) encode(*encoder)       {}
func (a *NoArgs) fields(*fields)        {}
