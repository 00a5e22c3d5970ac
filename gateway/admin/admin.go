// Package admin is the administration API: HTTP calls for operators and for
// other back ends. One definition of each operation yields its handler, the
// validation of what comes in, and its part of the OpenAPI 3.1 document.
//
// An API is mounted on the listener for operations. It serves /openapi.json, a
// page to browse it at /docs, and the operations. A caller's token needs the
// operation's scope: cluster for those about a cluster, else read for GET and write for the
// rest.
//
// Requests and answers are JSON; a call that fails is answered with an Error. The
// body of a request is read whole before its handler runs, and its size is
// limited. Imports and exports are streamed, and have no limit.
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"runtime/debug"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/belfry-im/belfry/gateway/inspect"
	"github.com/belfry-im/belfry/gateway/protocol"
)

// A Config says how an API behaves. Backend is required; a zero field elsewhere
// is its default.
type Config struct {
	Backend Backend
	Tokens  *Tokens // nil refuses everybody
	Cluster Cluster // nil: there are no calls about one
	// Inspect is what this node tells of itself, and asks the others with. It is told of
	// changes. Nil: nothing is known but those.
	Inspect *inspect.Local

	// KnownUsersOnly refuses sends to accounts that never logged in.
	KnownUsersOnly bool
	MaxBody        int // most bytes of a message body as stored; default 12 KiB

	RequestTimeout time.Duration // of a call that waits for the store; default 10 s
	ReadTimeout    time.Duration // within which a body has to come, or the next part of an import; default 30 s
	WriteTimeout   time.Duration // of one write to a caller; default 30 s

	Log *slog.Logger // nil discards
}

func (c *Config) fill() error {
	if c.Backend == nil {
		return errors.New("admin: Backend is not set")
	}
	if c.MaxBody == 0 {
		c.MaxBody = protocol.DefaultMaxBody
	}
	if c.MaxBody < 0 || c.MaxBody > protocol.LargestBody {
		return fmt.Errorf("admin: MaxBody is %d, want 1-%d", c.MaxBody, protocol.LargestBody)
	}
	for _, f := range []struct {
		name         string
		value        *time.Duration
		defaultValue time.Duration
	}{
		{"RequestTimeout", &c.RequestTimeout, 10 * time.Second},
		{"ReadTimeout", &c.ReadTimeout, 30 * time.Second},
		{"WriteTimeout", &c.WriteTimeout, 30 * time.Second},
	} {
		if *f.value == 0 {
			*f.value = f.defaultValue
		}
		if *f.value < 0 {
			return fmt.Errorf("admin: %s is %v, want > 0", f.name, *f.value)
		}
	}
	if c.Inspect == nil {
		c.Inspect = inspect.New("node")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

// An API is an http.Handler that serves the administration's calls.
type API struct {
	config  Config
	backend Backend
	tokens  *Tokens
	log     *slog.Logger
	mux     *http.ServeMux
	huma    huma.API
	openAPI []byte          // the document, JSON
	words   map[string]bool // words of paths that ambiguous refuses as names
}

// New returns an API. Its error says what is wrong with the config.
func New(c Config) (*API, error) {
	if err := c.fill(); err != nil {
		return nil, err
	}
	a := &API{config: c, backend: c.Backend, tokens: c.Tokens, log: c.Log, mux: http.NewServeMux()}
	if a.tokens == nil {
		a.tokens = new(Tokens)
	}
	a.huma = humago.New(a.mux, humaConfig())
	a.huma.UseMiddleware(a.authorize)
	a.messageOperations()
	a.userOperations()
	a.groupOperations()
	a.memberOperations()
	a.storeOperations()
	a.importOperation()
	a.tencentOperation()
	a.clusterOperations()
	a.inspectOperations()
	a.traceOperations()

	document, err := json.Marshal(a.huma.OpenAPI())
	if err != nil {
		return nil, fmt.Errorf("admin: OpenAPI document: %w", err)
	}
	a.openAPI, a.words = document, wordsAfterNames(a.huma.OpenAPI().Paths)
	a.mux.Handle("GET /openapi.json", a.tokens.requireInBrowser(http.HandlerFunc(a.serveOpenAPI)))
	a.mux.Handle("GET /docs", a.tokens.requireInBrowser(http.HandlerFunc(serveDocs)))
	return a, nil
}

func humaConfig() huma.Config {
	config := huma.DefaultConfig("Belfry administration", "1")
	config.Info.Description = "Operators and other back ends use these calls. Times are Unix milliseconds, numbers integers below 2^53. " +
		"What is already so answers like the change itself, so that a call whose answer was lost can be repeated."
	config.Info.License = &huma.License{Name: "Apache-2.0", Identifier: "Apache-2.0"}
	// The API serves the document and a page for it itself: they need a token, and
	// load nothing from the Internet.
	config.OpenAPIPath, config.DocsPath, config.SchemasPath = "", "", ""
	config.CreateHooks = nil // would add a $schema to every answer
	config.RejectUnknownQueryParameters = true
	format := huma.DefaultJSONFormat
	format.Unmarshal = readBody
	config.Formats = map[string]huma.Format{"application/json": format, "json": format}
	config.Servers = []*huma.Server{{URL: "/"}}
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		bearerScheme:  {Type: "http", Scheme: "bearer", Description: "a token of --admin-token-file"},
		usersigScheme: {Type: "apiKey", In: "query", Name: "usersig", Description: "the same, where a Tencent IM back end puts it"},
	}
	return config
}

// readBody decodes the JSON of a call. huma calls it first with an *any, to
// validate that value. Then readBody also refuses members that come twice, of
// which huma would see only the last.
func readBody(b []byte, v any) error {
	if _, first := v.(*any); first && len(b) > 0 {
		members, err := protocol.ObjectMembers(b)
		if err != nil {
			return err
		}
		for _, inner := range []string{"settings", "properties"} {
			if raw := members[inner]; len(raw) > 0 && raw[0] == '{' {
				if _, err := protocol.ObjectMembers(raw); err != nil {
					return fmt.Errorf("%s.%w", inner, err)
				}
			}
		}
	}
	return json.Unmarshal(b, v)
}

const (
	bearerScheme  = "bearer"
	usersigScheme = "usersig"
)

// maxRequest bounds the JSON of a call in bytes. 500 receivers and a body of 32
// KiB, in its longest form as JSON, fit.
const maxRequest = 512 << 10

// operation returns an operation with the fields that all operations have in
// common.
func (a *API) operation(method, path, id, tag, summary, description string) huma.Operation {
	return huma.Operation{
		OperationID: id, Method: method, Path: path, Tags: []string{tag}, Summary: summary, Description: description,
		Security:     []map[string][]string{{bearerScheme: {}}},
		MaxBodyBytes: maxRequest, BodyReadTimeout: a.config.ReadTimeout,
		Responses: map[string]*huma.Response{"default": {
			Description: "the call was not done",
			Content: map[string]*huma.MediaType{"application/json": {
				Schema: &huma.Schema{Ref: "#/components/schemas/Error"},
			}},
		}},
	}
}

// scopeOf returns the scope that a token needs for calls of a path with an HTTP method.
func scopeOf(method, path string) Scope {
	if path == clusterPath || strings.HasPrefix(path, clusterPath+"/") {
		return ScopeCluster
	}
	if method == http.MethodGet {
		return ScopeRead
	}
	return ScopeWrite
}

var crossOrigin = http.NewCrossOriginProtection()

// ServeHTTP serves one call.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &call{began: time.Now()}
	rw := &responseWriter{ResponseWriter: w, control: http.NewResponseController(w), timeout: a.config.WriteTimeout}
	rw.Header().Set("Cache-Control", "no-store")
	defer rw.extend() // the flush after the handler has a deadline too
	defer func() {
		p := recover()
		if p != nil && p != http.ErrAbortHandler {
			a.log.Error("administration: panic", "path", r.URL.EscapedPath(), "panic", p, "stack", string(debug.Stack()))
			if rw.status == 0 {
				newError(protocol.CodeInternal, "the server failed; it has logged why").write(rw)
				p = nil
			}
		}
		a.audit(c, rw, r)
		if p != nil {
			panic(http.ErrAbortHandler) // half an answer must not look whole
		}
	}()

	r = r.WithContext(context.WithValue(r.Context(), callKey{}, c))
	if r.Body != nil && r.Body != http.NoBody {
		body := &timedBody{ReadCloser: r.Body, control: rw.control, timeout: a.config.ReadTimeout}
		body.begin()
		r.Body = body
	}
	// A dev server without tokens serves everybody on its machine, but refuses
	// pages of other sites in a browser there.
	if crossOrigin.Check(r) != nil {
		newError(protocol.CodeForbidden, "Origin: pages of other sites may not make calls").write(rw)
		return
	}
	if refused := a.route(rw, r); refused != nil {
		if _, stranger := a.tokens.authorize(bearer(r), anyScope); stranger != nil {
			refused = stranger // callers without a token do not learn which paths exist
			rw.Header().Del("Allow")
			rw.Header().Set("WWW-Authenticate", bearerChallenge)
		}
		refused.write(rw)
		return
	}
	a.mux.ServeHTTP(rw, r)
}

// route returns the refusal of a request that no operation serves, or whose path
// or query is wrong; nil for none.
func (a *API) route(w http.ResponseWriter, r *http.Request) *Error {
	if p := r.URL.EscapedPath(); p != path.Clean(p) || p == "" || p[0] != '/' {
		return notFound("path: there is no such call")
	}
	handler, pattern := a.mux.Handler(r)
	if pattern == "" {
		// The mux answers with 404, or with 405 and the methods that the path
		// allows.
		answer := headerWriter{}
		handler.ServeHTTP(answer, r)
		if allow := answer.Header().Get("Allow"); allow != "" {
			w.Header().Set("Allow", allow)
			e := newError(protocol.CodeBadRequest, "method: want "+allow)
			e.status = http.StatusMethodNotAllowed
			return e
		}
		return notFound("path: there is no such call")
	}
	if e := a.ambiguous(r, pattern); e != nil {
		return e
	}
	if r.URL.Path == tencentPath {
		return nil // its handler refuses in Tencent's form
	}
	// r.URL.Query would leave out a parameter that cannot be parsed, and the call
	// might do more than was meant.
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return badRequest("query: " + err.Error())
	}
	// These two have no parameters. For operations huma checks the names.
	if r.URL.Path == "/docs" || r.URL.Path == "/openapi.json" {
		for name := range query {
			return badRequest(name + ": unknown query parameter")
		}
	}
	for name, values := range query {
		if len(values) != 1 || values[0] == "" {
			return badRequest(name + ": want one value")
		}
	}
	return nil
}

// ambiguous refuses a request whose path has a word of another path where a name
// is expected. Clients that follow the URL standard drop the segments . and ..
// before they send: if the user . is meant, /v1/users/./sessions arrives as
// /v1/users/sessions, the call that erases the user "sessions".
func (a *API) ambiguous(r *http.Request, pattern string) *Error {
	_, pattern, _ = strings.Cut(pattern, " ")
	given := strings.Split(r.URL.EscapedPath(), "/")
	for i, segment := range strings.Split(pattern, "/") {
		if strings.HasPrefix(segment, "{") && a.words[given[i]] {
			return badRequest(fmt.Sprintf("%s: %s is a word of this API too: want it with a percent-encoded letter, as %%%02x%s",
				strings.Trim(segment, "{}"), given[i], given[i][0], given[i][1:]))
		}
	}
	return nil
}

// wordsAfterNames returns the words that follow a name in some path. If a client
// drops the name, such a word takes its place.
func wordsAfterNames(paths map[string]*huma.PathItem) map[string]bool {
	words := make(map[string]bool)
	for p := range paths {
		_, after, _ := strings.Cut(p, "}/")
		for segment := range strings.SplitSeq(after, "/") {
			if !strings.HasPrefix(segment, "{") {
				words[segment] = true
			}
		}
	}
	return words
}

// A headerWriter is a ResponseWriter that keeps the header of an answer and
// discards the rest.
type headerWriter http.Header

func (w headerWriter) Header() http.Header         { return http.Header(w) }
func (w headerWriter) Write(b []byte) (int, error) { return len(b), nil }
func (w headerWriter) WriteHeader(int)             {}

// authorize is huma middleware: it passes on calls whose token has the operation's
// scope, and refuses the others.
func (a *API) authorize(ctx huma.Context, next func(huma.Context)) {
	op := ctx.Operation()
	c := callOf(ctx.Context())
	c.operation = op.OperationID
	r, w := humago.Unwrap(ctx)
	c.secret = bearer(r)
	name, refused := a.tokens.authorize(c.secret, scopeOf(op.Method, op.Path))
	c.token, c.allowed = name, refused == nil
	if refused != nil {
		if refused.status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", bearerChallenge)
		}
		refused.write(w)
		return
	}
	next(ctx)
}

func (a *API) serveOpenAPI(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/openapi+json")
	_, _ = w.Write(a.openAPI)
}

// waiting returns a context that ends with RequestTimeout, for calls that wait for
// the store.
func (a *API) waiting(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, a.config.RequestTimeout)
}
