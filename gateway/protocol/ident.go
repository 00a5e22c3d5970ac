package protocol

import (
	"github.com/oklog/ulid/v2"
)

// A Conv names a conversation as one user sees it: "u:bob" or "g:team". The
// zero Conv is none.
type Conv struct {
	Group bool
	ID    string // of the other user, or of the group
}

// UserConv is the one-to-one conversation with user.
func UserConv(user string) Conv { return Conv{ID: user} }

// GroupConv is the conversation of group.
func GroupConv(group string) Conv { return Conv{Group: true, ID: group} }

// ParseConv reads the text of a Conv. Its error is a *FieldError of "conv".
func ParseConv(s string) (Conv, error) {
	c, ok := parseConv([]byte(s))
	if !ok {
		return Conv{}, &FieldError{CodeBadRequest, "conv", convRule}
	}
	return c, nil
}

func (c Conv) String() string { return c.prefix() + c.ID }

func (c Conv) prefix() string {
	if c.Group {
		return "g:"
	}
	return "u:"
}

func parseConv(b []byte) (c Conv, ok bool) {
	if len(b) < 2 || b[1] != ':' {
		return Conv{}, false
	}
	switch id := b[2:]; {
	case b[0] == 'u' && isName(id, MaxUserLen):
		return UserConv(string(id)), true
	case b[0] == 'g' && isName(id, MaxGroupLen):
		return GroupConv(string(id)), true
	}
	return Conv{}, false
}

// The rules of names, as errors give them.
const (
	UserRule  = "must be " + UserForm
	GroupRule = "must be " + GroupForm
	userKeys  = "must have keys that are users: each " + UserRule
	groupKeys = "must have keys that are groups: each " + GroupRule
	convRule  = "must be u:<user>, of " + UserForm + ", or g:<group>, of " + GroupForm
)

// The same in a schema: in words and as regular expressions, of RE2 as well as of
// ECMAScript.
const (
	UserForm  = "1-64 bytes of printable ASCII without spaces, neither . nor .."
	GroupForm = "1-48 bytes of printable ASCII without spaces, neither . nor .."

	UserPattern  = `^` + userPattern + `$`
	GroupPattern = `^` + groupPattern + `$`
	ConvPattern  = `^(?:u:` + userPattern + `|g:` + groupPattern + `)$`

	// Something with another character than a dot first, second or third, or
	// three dots.
	userPattern  = `(?:[!-\-/-~][!-~]{0,63}|\.[!-\-/-~][!-~]{0,62}|\.\.[!-~]{1,62})`
	groupPattern = `(?:[!-\-/-~][!-~]{0,47}|\.[!-\-/-~][!-~]{0,46}|\.\.[!-~]{1,46})`
)

// ValidUser reports whether s can name an account.
func ValidUser(s string) bool { return isName(s, MaxUserLen) }

// ValidGroup reports whether s can name a group.
func ValidGroup(s string) bool { return isName(s, MaxGroupLen) }

// isName is the rule of all names. Those that mean a folder to URLs are none: on
// its way to the administration, /v1/groups/team/members/.. becomes another call.
func isName[T string | []byte](s T, maxLen int) bool {
	if len(s) == 0 || len(s) > maxLen || string(s) == "." || string(s) == ".." {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// An ID is the id of a message, a ULID; 26 letters and digits on the wire.
type ID [16]byte

const idTextLen = ulid.EncodedSize

func (id ID) String() string { return ulid.ULID(id).String() }

// ParseID reads the text of an ID. Its error is a *FieldError of "id".
func ParseID(s string) (ID, error) {
	id, ok := parseID([]byte(s))
	if !ok {
		return ID{}, &FieldError{CodeBadRequest, "id", idRule}
	}
	return id, nil
}

const idRule = "must be a ULID"

func parseID(b []byte) (ID, bool) {
	var id ulid.ULID
	// UnmarshalText takes any character for a digit, so it needs the round trip.
	if len(b) != idTextLen || id.UnmarshalText(b) != nil {
		return ID{}, false
	}
	var text [idTextLen]byte
	if id.MarshalTextTo(text[:]) != nil || string(text[:]) != string(b) {
		return ID{}, false
	}
	return ID(id), true
}
