package admin

import (
	"encoding/json"
	"reflect"
	"slices"

	"github.com/belfry-im/belfry/gateway/enum"
	"github.com/belfry-im/belfry/gateway/errcode"
	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
	"github.com/danielgtaylor/huma/v2"
)

// Names and values in requests and answers. Their schemas follow the rules of the
// wire protocol.

// A userName names an account.
type userName string

func (userName) Schema(r huma.Registry) *huma.Schema {
	return nameSchema(r, "UserName", "user", protocol.UserPattern, protocol.UserForm)
}

// A groupName names a group.
type groupName string

func (groupName) Schema(r huma.Registry) *huma.Schema {
	return nameSchema(r, "GroupName", "group", protocol.GroupPattern, protocol.GroupForm)
}

func nameSchema(r huma.Registry, name, what, pattern, form string) *huma.Schema {
	return shared(r, name, &huma.Schema{
		Type: huma.TypeString, Pattern: pattern, PatternDescription: form, Description: "a " + what + ", " + form,
	})
}

// shared returns a reference to a schema, which it registers under that name. A pattern is
// compiled for each schema that has it, into some 50 KiB.
func shared(r huma.Registry, name string, s *huma.Schema) *huma.Schema {
	if _, ok := r.Map()[name]; !ok {
		s.PrecomputeMessages()
		r.Map()[name] = s
	}
	return &huma.Schema{Ref: "#/components/schemas/" + name}
}

// Words of the tables in package enum.
type (
	groupKind    string
	joinMode     string
	history      string
	role         string
	settableRole string
	gapReason    string
	errorCode    string
)

func (groupKind) Schema(huma.Registry) *huma.Schema { return oneOf(enum.GroupKinds.Words()) }
func (joinMode) Schema(huma.Registry) *huma.Schema  { return oneOf(enum.JoinModes.Words()) }
func (history) Schema(huma.Registry) *huma.Schema   { return oneOf(enum.Histories.Words()) }
func (role) Schema(huma.Registry) *huma.Schema      { return oneOf(enum.Roles.Words()) }
func (settableRole) Schema(huma.Registry) *huma.Schema {
	notOwner := func(word string) bool { return !slices.Contains(protocol.SettableRoles.Words, word) }
	return oneOf(slices.DeleteFunc(enum.Roles.Words(), notOwner))
}
func (gapReason) Schema(huma.Registry) *huma.Schema { return oneOf(enum.GapReasons.Words()) }
func (errorCode) Schema(huma.Registry) *huma.Schema { return oneOf(errcode.OfCalls()) }

func oneOf(words []string) *huma.Schema {
	s := &huma.Schema{Type: huma.TypeString}
	for _, w := range words {
		s.Enum = append(s.Enum, w)
	}
	return s
}

// leastTime is the least time in ms that is accepted, in 1973. A lower number is a
// time in seconds.
const leastTime = 100_000_000_000

// isMilliseconds returns an error for a time that looks like seconds. Nil and 0
// mean no time.
func isMilliseconds(field string, t *int64) error {
	if t != nil && *t != 0 && *t < leastTime {
		return badRequest(field + ": want Unix milliseconds, or 0; this looks like seconds")
	}
	return nil
}

// A convName names a conversation, as a user sees it.
type convName string

func (convName) Schema(r huma.Registry) *huma.Schema {
	return shared(r, "ConvName", &huma.Schema{
		Type: huma.TypeString, Pattern: protocol.ConvPattern,
		PatternDescription: "u:<user> or g:<group>",
		Description:        "u:<user> or g:<group>",
	})
}

// parse returns the conversation that c names. Its error names the field.
func (c convName) parse(field string) (protocol.Conv, error) {
	conv, err := protocol.ParseConv(string(c))
	if err != nil {
		return conv, badRequest(field + ": want u:<user> or g:<group>")
	}
	return conv, nil
}

// A seqNumber is a position in a view or log.
type seqNumber uint64

func (seqNumber) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeInteger, Format: "int64", Minimum: new(1.0), Maximum: new(float64(protocol.MaxInt))}
}

// An anyJSON is any JSON value, with its bytes kept as they came.
type anyJSON json.RawMessage

func (v anyJSON) MarshalJSON() ([]byte, error) { return json.RawMessage(v).MarshalJSON() }
func (v *anyJSON) UnmarshalJSON(b []byte) error {
	*v = append((*v)[:0], b...)
	return nil
}

func (anyJSON) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Description: `any JSON value; binary is {"$bin": "<base64>"}`}
}

// An objectJSON is an anyJSON whose value is an object.
type objectJSON anyJSON

func (v objectJSON) MarshalJSON() ([]byte, error)  { return anyJSON(v).MarshalJSON() }
func (v *objectJSON) UnmarshalJSON(b []byte) error { return (*anyJSON)(v).UnmarshalJSON(b) }

func (objectJSON) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true, Description: `any object; binary is {"$bin": "<base64>"}`}
}

// canonical returns a JSON value in canonical msgpack, as the store keeps it. Its
// errors name the field.
func canonical(field string, v []byte, maxLen int) ([]byte, error) {
	body, err := protocol.CanonicalJSON(nil, v, maxLen)
	if bad, ok := err.(*protocol.FieldError); ok {
		return nil, newError(bad.Code, field+": "+bad.Rule)
	}
	return body, err
}

// bodyJSON returns a body of the store as JSON.
func bodyJSON(body []byte) anyJSON { return protocol.AppendBodyJSON(nil, body) }

// An optional is a query parameter that may be absent.
type optional[T any] struct {
	Value T
	Set   bool
}

// Schema returns the schema of the value.
func (o optional[T]) Schema(r huma.Registry) *huma.Schema {
	return huma.SchemaFromType(r, reflect.TypeFor[T]())
}

// Receiver returns where huma puts the value.
func (o *optional[T]) Receiver() reflect.Value { return reflect.ValueOf(o).Elem().Field(0) }

// OnParamSet notes whether the parameter is set; huma calls it.
func (o *optional[T]) OnParamSet(set bool, _ any) { o.Set = set }

// A message is a message in an answer.
type message struct {
	ID       string   `json:"id" doc:"ULID"`
	Conv     convName `json:"conv"`
	From     userName `json:"from"`
	Seq      uint64   `json:"seq" doc:"of the view or log that was asked for"`
	Time     int64    `json:"time" doc:"ms"`
	CID      string   `json:"cid" doc:"the sender's own id"`
	Body     anyJSON  `json:"body"`
	TTL      uint32   `json:"ttl,omitempty" doc:"s"`
	Mentions []string `json:"mentions,omitempty" nullable:"false"`
}

func messageOf(m *query.Message) message {
	conv := protocol.UserConv(string(m.Peer))
	if m.Group != "" {
		conv = protocol.GroupConv(string(m.Group))
	}
	return message{
		ID: protocol.ID(m.ID).String(), Conv: convName(conv.String()), From: userName(m.From), Seq: m.Seq, Time: m.Time,
		CID: string(m.CID), Body: bodyJSON(m.Body), TTL: m.TTL, Mentions: m.Mentions,
	}
}

// convOf returns the name of the conversation with peer or, if group is not "", of
// that group.
func convOf(peer command.UserID, group command.GroupID) convName {
	if group != "" {
		return convName(protocol.GroupConv(string(group)).String())
	}
	return convName(protocol.UserConv(string(peer)).String())
}
