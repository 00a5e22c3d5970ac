package mobile

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/importer"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/belfry-im/belfry/client"
	"github.com/belfry-im/belfry/gateway/protocol"
)

// TestSurface holds the exported surface to what gomobile binds. It leaves out silently what
// it cannot, so a wrapper would lack it:
//
//   - types: bool, string, int, int8 … int64, float32, float64, byte, []byte, error, pointers
//     to structs and interfaces of this package
//   - results: none, one, or one and an error
//   - functions, methods, fields of structs, constants and variables of these types; no
//     generics, no variadic parameters, no embedding
func TestSurface(t *testing.T) {
	for _, wrong := range unbindable(load(t, ".")) {
		t.Error(wrong)
	}
}

// TestSurfaceCheck: the check finds what it is to find.
func TestSurfaceCheck(t *testing.T) {
	pkg := types.NewPackage("example.test/p", "p")
	uint64s := types.NewVar(token.NoPos, pkg, "n", types.Typ[types.Uint64])
	texts := types.NewVar(token.NoPos, pkg, "list", types.NewSlice(types.Typ[types.String]))
	text := types.NewVar(token.NoPos, pkg, "s", types.Typ[types.String])
	for name, sig := range map[string]*types.Signature{
		"Unsigned": types.NewSignatureType(nil, nil, nil, types.NewTuple(uint64s), nil, false),
		"List":     types.NewSignatureType(nil, nil, nil, nil, types.NewTuple(texts), false),
		"Two":      types.NewSignatureType(nil, nil, nil, nil, types.NewTuple(text, text), false),
		"Variadic": types.NewSignatureType(nil, nil, nil, types.NewTuple(texts), nil, true),
	} {
		p := types.NewPackage("example.test/p", "p")
		p.Scope().Insert(types.NewFunc(token.NoPos, p, name, sig))
		if len(unbindable(p)) == 0 {
			t.Errorf("%s passes", name)
		}
	}
	good := types.NewSignatureType(nil, nil, nil, types.NewTuple(text), types.NewTuple(text, types.NewVar(token.NoPos, pkg, "", types.Universe.Lookup("error").Type())), false)
	pkg.Scope().Insert(types.NewFunc(token.NoPos, pkg, "Good", good))
	if wrong := unbindable(pkg); len(wrong) > 0 {
		t.Errorf("Good does not pass: %v", wrong)
	}
}

// load type-checks the package of a folder from the export data that the go command has.
func load(t *testing.T, folder string) *types.Package {
	t.Helper()
	out, err := exec.Command("go", "list", "-export", "-deps", "-f", "{{.ImportPath}}\t{{.Export}}", folder).Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	exports := make(map[string]string)
	path := ""
	for line := range strings.Lines(string(out)) {
		var file string
		path, file, _ = strings.Cut(strings.TrimSpace(line), "\t") // the last is the package itself
		exports[path] = file
	}
	pkg, err := importer.ForCompiler(token.NewFileSet(), "gc", func(path string) (io.ReadCloser, error) {
		if exports[path] == "" {
			return nil, errors.New("no export data")
		}
		return os.Open(exports[path])
	}).Import(path)
	if err != nil {
		t.Fatal(err)
	}
	return pkg
}

// unbindable lists what of a package gomobile leaves out.
func unbindable(pkg *types.Package) (wrong []string) {
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	signature := func(name string, sig *types.Signature) {
		if sig.Variadic() || sig.TypeParams().Len() > 0 {
			say("%s: variadic or generic", name)
		}
		for v := range sig.Params().Variables() {
			if !bindable(pkg, v.Type()) {
				say("%s: parameter %s %s", name, v.Name(), v.Type())
			}
		}
		results := sig.Results()
		switch n := results.Len(); {
		case n > 2, n == 2 && !isError(results.At(1).Type()):
			say("%s: results %s", name, results)
		case n > 0 && !bindable(pkg, results.At(0).Type()):
			say("%s: result %s", name, results.At(0).Type())
		}
	}
	for _, name := range pkg.Scope().Names() {
		switch o := pkg.Scope().Lookup(name).(type) {
		case *types.Func:
			if o.Exported() {
				signature(name, o.Signature())
			}
		case *types.TypeName:
			named, ok := o.Type().(*types.Named)
			if !o.Exported() {
				continue
			}
			if !ok || named.TypeParams().Len() > 0 {
				say("%s: an alias or generic", name)
				continue
			}
			switch u := named.Underlying().(type) {
			case *types.Struct:
				for f := range u.Fields() {
					if f.Exported() && (f.Embedded() || !bindable(pkg, f.Type())) {
						say("%s.%s: field of type %s", name, f.Name(), f.Type())
					}
				}
			case *types.Interface:
				for m := range u.Methods() {
					signature(name+"."+m.Name(), m.Signature())
				}
			default:
				say("%s: neither struct nor interface", name)
			}
			for m := range named.Methods() {
				if m.Exported() {
					signature(name+"."+m.Name(), m.Signature())
				}
			}
		default:
			if o.Exported() && !bindable(pkg, types.Default(o.Type())) {
				say("%s: of type %s", name, o.Type())
			}
		}
	}
	return wrong
}

func isError(t types.Type) bool { return types.Identical(t, types.Universe.Lookup("error").Type()) }

func bindable(pkg *types.Package, t types.Type) bool {
	switch t := t.(type) {
	case *types.Basic:
		switch t.Kind() {
		case types.Bool, types.String, types.Int, types.Int8, types.Int16, types.Int32, types.Int64,
			types.Float32, types.Float64, types.Uint8:
			return true
		}
	case *types.Slice:
		elem, ok := t.Elem().(*types.Basic)
		return ok && elem.Kind() == types.Uint8
	case *types.Pointer:
		named, ok := t.Elem().(*types.Named)
		if !ok || named.Obj().Pkg() != pkg {
			return false
		}
		_, ok = named.Underlying().(*types.Struct)
		return ok
	case *types.Named:
		_, ok := t.Underlying().(*types.Interface)
		return isError(t) || ok && t.Obj().Pkg() == pkg
	}
	return false
}

// A told is a Handler that passes on what it is told.
type told struct{ state, sent chan string }

func (h *told) OnMessages(string)    {}
func (h *told) OnInterrupted(string) {}
func (h *told) OnSent(conv, cid string, seq int64, code string) {
	h.sent <- fmt.Sprint(conv, " ", cid, " ", seq, " ", code)
}
func (h *told) OnChanged(conv string) {}
func (h *told) OnState(state string)  { h.state <- state }

type noToken struct{}

func (noToken) Token(string) (string, error) { return "", errors.New(Refused) }

// TestOffline uses what works without a server, and a refused token.
func TestOffline(t *testing.T) {
	h := &told{state: make(chan string, 8), sent: make(chan string, 8)}
	c, err := Open(&Config{URL: "ws://127.0.0.1:1", Path: t.TempDir() + "/alice.db"}, noToken{}, h)
	if err != nil {
		t.Fatal(err)
	}
	for state := range h.state {
		if state == "closed" {
			break
		}
	}
	if c.State() != "closed" || !strings.Contains(c.LastError(), Refused) {
		t.Errorf("state %s, error %s, want closed by %s", c.State(), c.LastError(), Refused)
	}
	c.Close()

	if _, err := Open(nil, noToken{}, h); err == nil {
		t.Error("Open without a config passes")
	}
	if got := string(bodyJSON([]byte{0x81, 0xa1, 'a', 0x01})); got != `{"a":1}` {
		t.Errorf("body = %s, want the JSON", got)
	}
	if text, err := page(newPage(), nil); err != nil || !json.Valid([]byte(text)) || !strings.Contains(text, `"gaps":[{"from":1,"to":2,"reason":"lost"}]`) {
		t.Errorf("page = %s, %v", text, err)
	}
}

func newPage() client.Page {
	return client.Page{
		Messages: []client.Message{{Conv: protocol.UserConv("bob"), From: "bob", Seq: 3, Body: []byte{0xc0}}},
		From:     1, To: 3, Gaps: []protocol.Gap{{From: 1, To: 2, Reason: client.ReasonLost}},
	}
}
