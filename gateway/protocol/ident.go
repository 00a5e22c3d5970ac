package protocol

import (
	"github.com/oklog/ulid/v2"
)

// A Conv names a conversation as a user sees it: "u:bob" or "g:team". The zero
// Conv names none.
type Conv struct {
	Group bool
	ID    string // of the other user, or of the group
}

// UserConv returns the Conv of the one-to-one conversation with user.
func UserConv(user string) Conv { return Conv{ID: user} }

// GroupConv returns the Conv of group.
func GroupConv(group string) Conv { return Conv{Group: true, ID: group} }

// ParseConv parses the text of a Conv. Its error is a *FieldError of "conv".
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

// Rules of names, for errors.
const (
	UserRule  = "must be " + UserForm
	GroupRule = "must be " + GroupForm
	userKeys  = "must have keys that are users: each " + UserRule
	groupKeys = "must have keys that are groups: each " + GroupRule
	convRule  = "must be u:<user>, of " + UserForm + ", or g:<group>, of " + GroupForm
)

// Rules of names for schemas: in words, and as regular expressions that RE2 and
// ECMAScript understand.
const (
	UserForm  = "1-64 bytes of printable ASCII without spaces, neither . nor .."
	GroupForm = "1-48 bytes of printable ASCII without spaces, neither . nor .."

	UserPattern  = `^` + userPattern + `$`
	GroupPattern = `^` + groupPattern + `$`
	ConvPattern  = `^(?:u:` + userPattern + `|g:` + groupPattern + `)$`

	// The first, second or third character is not a dot, or the first three are
	// dots: that excludes . and .. alone.
	userPattern  = `(?:[!-\-/-~][!-~]{0,63}|\.[!-\-/-~][!-~]{0,62}|\.\.[!-~]{1,62})`
	groupPattern = `(?:[!-\-/-~][!-~]{0,47}|\.[!-\-/-~][!-~]{0,46}|\.\.[!-~]{1,46})`
)

// ValidUser reports whether s can name an account.
func ValidUser(s string) bool { return isName(s, MaxUserLen) }

// ValidGroup reports whether s can name a group.
func ValidGroup(s string) bool { return isName(s, MaxGroupLen) }

// isName reports whether s is a valid name of a user or group. The names . and ..
// are not: in a URL they mean folders, and on the way to the administration
// /v1/groups/team/members/.. would become another call.
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

// An ID is the id of a message: a ULID, on the wire as 26 letters and digits.
type ID [16]byte

const idTextLen = ulid.EncodedSize

func (id ID) String() string { return ulid.ULID(id).String() }

// ParseID parses the text of an ID. Its error is a *FieldError of "id".
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
	// UnmarshalText accepts any characters, so the result is compared with the
	// input.
	if len(b) != idTextLen || id.UnmarshalText(b) != nil {
		return ID{}, false
	}
	var text [idTextLen]byte
	if id.MarshalTextTo(text[:]) != nil || string(text[:]) != string(b) {
		return ID{}, false
	}
	return ID(id), true
}
