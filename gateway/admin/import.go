package admin

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"mime"
	"net"
	"net/http"
	"slices"

	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// importTypes are the content types of an import. All mean NDJSON.
var importTypes = []string{ndjson, "application/ndjson", "application/jsonl"}

// byteOrderMark is the mark that some editors put at the start of a text; an
// import skips it.
const byteOrderMark = "\xef\xbb\xbf"

// maxImportLine bounds a row's JSON in bytes. A body of 32 KiB, in its longest
// form as JSON, fits.
const maxImportLine = 256 << 10

func (a *API) importOperation() {
	op := a.operation(http.MethodPost, "/v1/import", "importMessages", "Store",
		"Import the history of another system.",
		"NDJSON, one message a line, oldest first; see the schema importRow. It fills conversations that hold no other message and keeps their times; "+
			"nothing is pushed. Rows that are too old to be kept are counted and left out. An import that broke off can be repeated as it was, or from offset on: "+
			"a stream's row is known by its number. What an error names is the line at fault; what came before it may be stored.")
	schemas := a.huma.OpenAPI().Components.Schemas
	op.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{ndjson: {
		Schema:  &huma.Schema{Type: huma.TypeString, Description: "lines, each of which is an importRow"},
		Example: `{"from":"alice","to":"u:bob","time":1795400000123,"body":{"text":"hi"}}` + "\n",
	}}}
	schemas.Map()["ImportRow"] = importRowSchema(schemas)
	huma.Register(a.huma, op, a.importMessages)
}

type importInput struct {
	Stream string `query:"stream" required:"true" minLength:"1" maxLength:"64" doc:"name of what is imported, 1-64 bytes"`
	Offset uint64 `query:"offset" default:"0" maximum:"9007199254740991" doc:"lines of the stream before these"`
	Unread bool   `query:"unread" default:"false" doc:"the messages are unread by who received them"`

	request *http.Request
}

// Resolve keeps the request, whose body the handler reads as it imports.
func (in *importInput) Resolve(ctx huma.Context) []error {
	in.request, _ = humago.Unwrap(ctx)
	if content := ctx.Header("Content-Type"); content != "" {
		if kind, _, err := mime.ParseMediaType(content); err != nil || !slices.Contains(importTypes, kind) {
			return []error{&Error{status: http.StatusUnsupportedMediaType, Code: protocol.CodeBadRequest, Message: "Content-Type: want " + ndjson}}
		}
	}
	if len(in.Stream) > 64 {
		return []error{badRequest("stream: want 1-64 bytes")}
	}
	return nil
}

type importOutput struct {
	Body struct {
		Rows    uint64 `json:"rows" doc:"lines that were read, the sum of the others"`
		Stored  uint64 `json:"stored"`
		Known   uint64 `json:"known" doc:"that were stored by an earlier call"`
		Expired uint64 `json:"expired" doc:"too old to be kept"`
	}
}

func (a *API) importMessages(ctx context.Context, in *importInput) (*importOutput, error) {
	c := callOf(ctx)
	c.target = fmt.Sprintf("stream %s from %d", in.Stream, in.Offset)
	if body, ok := in.request.Body.(*timedBody); ok {
		body.perRead = true
	}
	result, err := a.backend.Import(ctx, store.ImportRequest{Stream: in.Stream, Offset: in.Offset, Unread: in.Unread}, a.importRows(in.request.Body))
	c.outcome = fmt.Sprintf("%d rows, %d stored", result.Rows, result.Stored)
	if err != nil {
		if row, ok := errors.AsType[*store.ImportError](err); ok {
			if row.Field == "group" {
				row.Field = "to"
			}
			return nil, a.errorOf(&command.RefusedError{Code: row.Code, Detail: fmt.Sprintf("line %d: %s: %s", row.Line, row.Field, row.Message)})
		}
		return nil, a.errorOf(err)
	}
	out := new(importOutput)
	b := &out.Body
	b.Rows, b.Stored, b.Known, b.Expired = result.Rows, result.Stored, result.Known, result.Expired
	return out, nil
}

// An importRow is one line of an import. The fields of its own are not checked
// yet.
type importRow struct {
	store.ImportRow
	to, id string
	ttl    int64
	body   json.RawMessage // nil = absent
}

// readImportRow decodes a line into a row, without checks of the values.
func readImportRow(line []byte) (row importRow, err error) {
	members, err := protocol.ObjectMembers(line)
	if err != nil {
		return row, err
	}
	row.body = members["body"]
	delete(members, "body")
	for _, err := range []error{
		protocol.ReadMember(members, "from", &row.From),
		protocol.ReadMember(members, "to", &row.to),
		protocol.ReadMember(members, "time", &row.Time),
		protocol.ReadMember(members, "id", &row.id),
		protocol.ReadMember(members, "cid", &row.CID),
		protocol.ReadMember(members, "ttl", &row.ttl),
		protocol.ReadMember(members, "mentions", &row.Mentions),
	} {
		if err != nil {
			return row, err
		}
	}
	for name := range members {
		return row, fmt.Errorf("%s: is no field of a row", name)
	}
	return row, nil
}

func importRowSchema(r huma.Registry) *huma.Schema {
	return &huma.Schema{
		Type: huma.TypeObject, Description: "a line of an import", Required: []string{"from", "to", "time", "body"}, AdditionalProperties: false,
		Properties: map[string]*huma.Schema{
			"from":     userName("").Schema(r),
			"to":       convName("").Schema(r),
			"time":     {Type: huma.TypeInteger, Format: "int64", Minimum: new(float64(leastTime)), Maximum: new(float64(protocol.MaxInt)), Description: "ms; must not fall within a conversation"},
			"body":     anyJSON(nil).Schema(r),
			"id":       {Type: huma.TypeString, Description: "ULID; absent = made from stream and line"},
			"cid":      {Type: huma.TypeString, Description: "1-64 bytes; absent = the id"},
			"ttl":      {Type: huma.TypeInteger, Minimum: new(0.0), Maximum: new(float64(protocol.MaxTTL)), Description: "s; 0 = none"},
			"mentions": {Type: huma.TypeArray, Items: userName("").Schema(r), MaxItems: new(protocol.MaxMentions)},
		},
	}
}

// importRows yields the rows of r as it reads them. It ends after the first error,
// which names the line.
func (a *API) importRows(r io.Reader) iter.Seq2[store.ImportRow, error] {
	return func(yield func(store.ImportRow, error) bool) {
		lines := bufio.NewReaderSize(r, maxImportLine)
		if start, _ := lines.Peek(len(byteOrderMark)); string(start) == byteOrderMark {
			_, _ = lines.Discard(len(byteOrderMark))
		}
		var body []byte
		for n := 1; ; n++ {
			line, err := lines.ReadSlice('\n')
			switch {
			case err == io.EOF && len(line) == 0:
				return
			case err == bufio.ErrBufferFull:
				yield(store.ImportRow{}, newError(protocol.CodeTooLarge, fmt.Sprintf("line %d: is longer than %d bytes", n, maxImportLine)))
				return
			case err != nil && err != io.EOF:
				e := newError(protocol.CodeBadRequest, fmt.Sprintf("line %d: could not be read", n))
				if late, ok := errors.AsType[net.Error](err); ok && late.Timeout() {
					e = &Error{status: http.StatusRequestTimeout, Code: protocol.CodeUnavailable, Message: fmt.Sprintf("line %d: took too long to come", n)}
				}
				yield(store.ImportRow{}, e)
				return
			}
			line = bytes.TrimSpace(line)
			if len(line) == 0 && blankEnd(lines) {
				return
			}
			row, rest, fault := a.parseImportRow(line, body[:0])
			body = rest
			if fault != nil {
				e := *fault
				e.Message = fmt.Sprintf("line %d: %s", n, e.Message)
				yield(store.ImportRow{}, &e)
				return
			}
			if !yield(row, nil) || err == io.EOF {
				return
			}
		}
	}
}

// parseImportRow decodes and checks a row. It appends the row's body in canonical
// form to buf, and returns that as body.
func (a *API) parseImportRow(line, buf []byte) (row store.ImportRow, body []byte, fault *Error) {
	in, err := readImportRow(line)
	if err != nil {
		return row, buf, badRequest(err.Error())
	}
	row = in.ImportRow
	if !protocol.ValidUser(string(row.From)) {
		return row, buf, badRequest("from: " + protocol.UserRule)
	}
	conv, err := convName(in.to).parse("to")
	if err != nil {
		return row, buf, a.errorOf(err)
	}
	if conv.Group {
		row.Group = command.GroupID(conv.ID)
	} else {
		row.To = command.UserID(conv.ID)
	}
	switch {
	case row.Time < 1 || row.Time > protocol.MaxInt:
		return row, buf, badRequest("time: must be Unix milliseconds")
	case row.Time < leastTime:
		return row, buf, badRequest("time: must be Unix milliseconds; this looks like seconds")
	case in.ttl < 0 || in.ttl > protocol.MaxTTL:
		return row, buf, badRequest(fmt.Sprintf("ttl: must be 0-%d", protocol.MaxTTL))
	case len(row.CID) > protocol.MaxCIDLen:
		return row, buf, badRequest(fmt.Sprintf("cid: must be 1-%d bytes", protocol.MaxCIDLen))
	case len(row.Mentions) > protocol.MaxMentions:
		return row, buf, badRequest(fmt.Sprintf("mentions: must be at most %d users", protocol.MaxMentions))
	case in.body == nil:
		return row, buf, badRequest("body: must be set")
	}
	for _, m := range row.Mentions {
		if !protocol.ValidUser(m) {
			return row, buf, badRequest("mentions: each " + protocol.UserRule)
		}
	}
	if in.id != "" {
		id, err := protocol.ParseID(in.id)
		if err != nil {
			return row, buf, a.errorOf(err)
		}
		row.ID = command.MsgID(id)
	}
	if body, err = protocol.CanonicalJSON(buf, in.body, a.config.MaxBody); err != nil {
		return row, buf, a.errorOf(err)
	}
	row.TTL, row.Body = uint32(in.ttl), body
	return row, body, nil
}

// blankEnd reports whether only blank lines are left. The first of them has been
// read.
func blankEnd(lines *bufio.Reader) bool {
	for {
		c, err := lines.ReadByte()
		if err != nil {
			return err == io.EOF
		}
		if !bytes.ContainsRune([]byte(" \t\r\n"), rune(c)) {
			return false
		}
	}
}
