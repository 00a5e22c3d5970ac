package enum

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// unnamed are values that nobody is told of.
var unnamed = []string{"RoleNone", "OK", "CodeMoved", "CodeGap"}

// TestTablesAreWhole: every constant of the store's types has a word, and every
// word of the wire a constant.
func TestTablesAreWhole(t *testing.T) {
	check(t, GroupKinds, "command.GroupKind", protocol.GroupKinds)
	check(t, JoinModes, "command.JoinMode", protocol.JoinModes)
	check(t, Histories, "command.GroupHistory", protocol.Histories)
	check(t, Roles, "command.Role", protocol.Roles)
	check(t, RecentsModes, "query.RecentsMode", protocol.RecentsModes)
	check(t, GapReasons, "query.GapReason", protocol.GapReasons)
	check(t, GroupEvents, "query.GroupEventKind", protocol.GroupEvents)
}

func check[V comparable](t *testing.T, table Table[V], name string, wire *protocol.Enum) {
	t.Helper()
	if !slices.Equal(table.Words(), wire.Words) {
		t.Errorf("%s: the table has %q, package protocol %q", name, table.Words(), wire.Words)
	}
	for i, r := range table {
		if table.Value(r.Word) != r.Value || table.Word(r.Value) != r.Word {
			t.Errorf("%s: row %d: a value or word is there twice", name, i)
		}
	}
	wantNamed(t, "enum.go", name)
}

// TestCodesAreWhole is the same for the refusals of the store.
func TestCodesAreWhole(t *testing.T) { wantNamed(t, "../errcode/errcode.go", "command.Code") }

// wantNamed wants each constant of a type in a file.
func wantNamed(t *testing.T, file, name string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pkg, typ, _ := strings.Cut(name, ".")
	all := constantsOf(t, "../../shard/"+pkg, typ)
	if len(all) == 0 {
		t.Errorf("%s has no constants", name)
	}
	for _, c := range all {
		if !regexp.MustCompile(`\b`+pkg+`\.`+c+`\b`).Match(b) && !slices.Contains(unnamed, c) {
			t.Errorf("%s.%s, a %s, has no word in %s", pkg, c, name, file)
		}
	}
}

// constantsOf are the names of the constants of a type in a folder.
func constantsOf(t *testing.T, folder, typ string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, path := range files {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range file.Decls {
			group, ok := decl.(*ast.GenDecl)
			if !ok || group.Tok != token.CONST {
				continue
			}
			last := "" // type of the constant before, which one without type and value has too
			for _, spec := range group.Specs {
				v := spec.(*ast.ValueSpec)
				if id, ok := v.Type.(*ast.Ident); ok {
					last = id.Name
				} else if len(v.Values) > 0 {
					last = ""
				}
				if last == typ {
					names = append(names, v.Names[0].Name)
				}
			}
		}
	}
	return names
}

func TestWordAndValueOfNothing(t *testing.T) {
	if w := GroupKinds.Word(0); w != "" {
		t.Errorf("Word(0) = %q, want none", w)
	}
	if v := GroupKinds.Value("secret"); v != 0 {
		t.Errorf("Value(secret) = %v, want 0", v)
	}
}
