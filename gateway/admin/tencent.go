package admin

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"

	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/danielgtaylor/huma/v2"
)

const tencentPath = "/v4/group_open_http_svc/delete_group_msg_by_sender"

// Error codes of Tencent IM.
const (
	tencentOK           = 0
	tencentInternal     = 10002
	tencentBadParameter = 10004
	tencentNoPermission = 10007
	tencentNoGroup      = 10010
	tencentBadGroup     = 10015
)

type tencentRequest struct {
	GroupID string `json:"GroupId"`
	Sender  string `json:"Sender_Account"`
}

type tencentAnswer struct {
	ActionStatus string `json:"ActionStatus" enum:"OK,FAIL"`
	ErrorCode    int    `json:"ErrorCode" enum:"0,10002,10004,10007,10010,10015" doc:"0 done, 10004 bad parameter, 10007 no permission, 10010 no such group, 10015 bad group id, 10002 internal error, repeat it"`
	ErrorInfo    string `json:"ErrorInfo"`
}

// tencentOperation adds a call of Tencent IM, for back ends that already make
// it. Requests, answers and errors have Tencent's form, and are handled without
// huma.
func (a *API) tencentOperation() {
	op := a.operation(http.MethodPost, tencentPath, "tencentDeleteSender", "Groups",
		"deleteSender in the form of Tencent IM.",
		"Always answers 200. The token comes as Bearer or as usersig; other parameters of the query, and the content type, do not matter.")
	op.Security = append(op.Security, map[string][]string{usersigScheme: {}})
	schemas := a.huma.OpenAPI().Components.Schemas
	op.RequestBody = &huma.RequestBody{Content: map[string]*huma.MediaType{"*/*": {
		Schema: &huma.Schema{
			Type: huma.TypeObject, Required: []string{"GroupId", "Sender_Account"},
			Properties: map[string]*huma.Schema{
				"GroupId":        groupName("").Schema(schemas),
				"Sender_Account": userName("").Schema(schemas),
			},
			AdditionalProperties: true,
		},
		Example: tencentRequest{GroupID: "team", Sender: "alice"},
	}}}
	op.Responses = map[string]*huma.Response{"200": {
		Description: "done, or not: see ErrorCode",
		Content:     map[string]*huma.MediaType{"application/json": {Schema: schemas.Schema(reflect.TypeFor[tencentAnswer](), true, "")}},
	}}
	a.huma.OpenAPI().AddOperation(&op)
	a.mux.HandleFunc(op.Method+" "+op.Path, func(w http.ResponseWriter, r *http.Request) {
		c := callOf(r.Context())
		c.operation = op.OperationID
		answer := a.tencentDeleteSender(r, c)
		if answer.ActionStatus = "OK"; answer.ErrorCode != tencentOK {
			answer.ActionStatus = "FAIL"
		}
		c.outcome = fmt.Sprintf("ErrorCode %d", answer.ErrorCode)
		writeJSON(w, http.StatusOK, answer)
	})
}

func (a *API) tencentDeleteSender(r *http.Request, c *call) tencentAnswer {
	name, refused := a.tokens.authorize(bearer(r), ScopeWrite)
	// With several values of usersig none is accepted: it is not clear which is
	// meant.
	if query, _ := url.ParseQuery(r.URL.RawQuery); refused != nil && len(query[usersigScheme]) == 1 {
		name, refused = a.tokens.authorize(query.Get(usersigScheme), ScopeWrite)
	}
	c.token, c.allowed = name, refused == nil
	if refused != nil {
		info := "usersig must be an admin token"
		if refused.status == http.StatusForbidden {
			info += " with the scope " + string(ScopeWrite)
		}
		return tencentAnswer{ErrorCode: tencentNoPermission, ErrorInfo: info}
	}
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxRequest))
	if err != nil {
		return tencentAnswer{ErrorCode: tencentBadParameter, ErrorInfo: "the body could not be read"}
	}
	var in tencentRequest
	members, err := protocol.ObjectMembers(body)
	if err == nil {
		err = errors.Join(protocol.ReadMember(members, "GroupId", &in.GroupID), protocol.ReadMember(members, "Sender_Account", &in.Sender))
	}
	if err != nil {
		return tencentAnswer{ErrorCode: tencentBadParameter, ErrorInfo: "the body must be a JSON object with GroupId and Sender_Account as text, each once"}
	}
	c.target = fmt.Sprintf("%s in %s", in.Sender, in.GroupID)
	switch {
	case in.GroupID == "":
		return tencentAnswer{ErrorCode: tencentBadParameter, ErrorInfo: "GroupId must be set"}
	case !protocol.ValidGroup(in.GroupID):
		return tencentAnswer{ErrorCode: tencentBadGroup, ErrorInfo: "GroupId " + protocol.GroupRule}
	case !protocol.ValidUser(in.Sender):
		return tencentAnswer{ErrorCode: tencentBadParameter, ErrorInfo: "Sender_Account " + protocol.UserRule}
	}
	_, err = a.propose(r.Context(), &command.DeleteMessagesFrom{Group: command.GroupID(in.GroupID), Sender: command.UserID(in.Sender)})
	if err == nil {
		return tencentAnswer{}
	}
	switch refused, _ := errors.AsType[*Error](err); refused.Code {
	case protocol.CodeNotFound:
		return tencentAnswer{ErrorCode: tencentNoGroup, ErrorInfo: refused.Message}
	case protocol.CodeForbidden:
		return tencentAnswer{ErrorCode: tencentNoPermission, ErrorInfo: refused.Message}
	case protocol.CodeBadRequest:
		return tencentAnswer{ErrorCode: tencentBadParameter, ErrorInfo: refused.Message}
	default:
		return tencentAnswer{ErrorCode: tencentInternal, ErrorInfo: refused.Message}
	}
}
