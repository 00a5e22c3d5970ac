package protocol

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// constants are the text constants of a file whose names begin with prefix.
func constants(t *testing.T, file, prefix string) map[string]string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]string)
	for _, decl := range f.Decls {
		group, ok := decl.(*ast.GenDecl)
		if !ok || group.Tok != token.CONST {
			continue
		}
		for _, spec := range group.Specs {
			for i, value := range spec.(*ast.ValueSpec).Values {
				text, ok := value.(*ast.BasicLit)
				if name := spec.(*ast.ValueSpec).Names[i].Name; ok && strings.HasPrefix(name, prefix) {
					if all[name] = text.Value; text.Kind == token.STRING {
						all[name], _ = strconv.Unquote(text.Value)
					}
				}
			}
		}
	}
	if len(all) == 0 {
		t.Fatalf("%s has no constants %s…", file, prefix)
	}
	return all
}

// TestTablesHaveAllConstants: who adds an op, a code or a word adds it to its table.
func TestTablesHaveAllConstants(t *testing.T) {
	named := make(map[string]bool)
	for _, o := range Ops {
		named[o.Name] = true
	}
	for _, p := range Pushes {
		named[p.Name] = true
	}
	for name, op := range constants(t, "ops.go", "Op") {
		if !named[op] {
			t.Errorf("%s has no row in Ops or Pushes", name)
		}
	}
	for name, code := range constants(t, "errors.go", "Code") {
		if !slices.Contains(Codes, code) {
			t.Errorf("%s is not in Codes", name)
		}
	}
	for name, word := range constants(t, "enum.go", "") {
		if !slices.ContainsFunc(Enums, func(e *Enum) bool { return slices.Contains(e.Words, word) }) {
			t.Errorf("%s is in none of Enums", name)
		}
	}
}

// TestGoldenFramesHaveAllPayloads: so each payload of the tables has its bytes held.
func TestGoldenFramesHaveAllPayloads(t *testing.T) {
	held := map[string]bool{"NoOK": true}
	for _, f := range goldenFrames() {
		held[f.name()] = true
	}
	for _, p := range append(requestPayloads(), serverPayloads()...) {
		if name := (&goldenFrame{payload: p}).name(); !held[name] {
			t.Errorf("%s is in no golden frame", name)
		}
	}
}

var (
	codeSpan = regexp.MustCompile("`[^`]+`")
	docWord  = regexp.MustCompile("[a-zA-Z]+")
)

// docWords are the words of the code in a text of the docs.
func docWords(text string) map[string]bool {
	words := make(map[string]bool)
	for line := range strings.Lines(text) {
		for _, span := range codeSpan.FindAllString(line, -1) {
			for _, word := range docWord.FindAllString(span, -1) {
				words[word] = true
			}
		}
	}
	return words
}

// docRows are the cells of the rows of docs/protocol.md, by what stands as code in
// the first of them.
func docRows(t *testing.T) (rows map[string][]string, text string) {
	t.Helper()
	b, err := os.ReadFile("../../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	rows = make(map[string][]string)
	for line := range strings.Lines(string(b)) {
		cells := strings.Split(strings.Trim(line, "|\n "), " | ")
		if !strings.HasPrefix(line, "| ") || len(cells) < 2 {
			continue
		}
		for _, name := range codeSpan.FindAllString(cells[0], -1) {
			rows[strings.Trim(name, "`")] = cells
		}
		rows[cells[0]] = cells
	}
	return rows, string(b)
}

// TestDocsHaveAllOfTheTables looks each op, push, field, code and word up in
// docs/protocol.md.
func TestDocsHaveAllOfTheTables(t *testing.T) {
	rows, text := docRows(t)
	fields := make(map[string]map[string]any) // of each payload
	for _, f := range goldenFrames() {
		all := fields[f.name()]
		if all == nil {
			all = make(map[string]any)
		}
		if err := json.Unmarshal(f.args(t, JSON, f.encode(JSON)).data, &all); err != nil {
			t.Fatal(err)
		}
		fields[f.name()] = all
	}
	// wants are the fields of a payload that some row has to name.
	wants := make(map[string]map[string]bool)
	look := func(op string, cell int, p payload) {
		cells := rows[op]
		if len(cells) <= cell {
			t.Errorf("%s has no row in docs/protocol.md", op)
			return
		}
		name := (&goldenFrame{payload: p}).name()
		if wants[name] == nil {
			wants[name] = make(map[string]bool)
		}
		words := docWords(cells[cell])
		for field := range fields[name] {
			wants[name][field] = wants[name][field] || words[field]
		}
	}
	for _, o := range Ops {
		look(o.Name, 1, argsFor(o.Name))
		look(o.Name, 2, o.OK())
		if len(rows[o.Name]) > 0 && strings.Contains(rows[o.Name][0], "(notice)") != o.Notice {
			t.Errorf("%s: docs/protocol.md has it as a notice: %v, want %v", o.Name, !o.Notice, o.Notice)
		}
	}
	for _, p := range Pushes {
		look(p.Name, 1, p.Args())
	}
	for _, name := range slices.Sorted(maps.Keys(wants)) {
		for field, found := range wants[name] {
			if !found {
				t.Errorf("%s: docs/protocol.md does not name %s", name, field)
			}
		}
	}
	for _, code := range Codes {
		if rows[code] == nil {
			t.Errorf("the error code %s has no row in docs/protocol.md", code)
		}
	}
	for name, code := range constants(t, "close.go", "Close") {
		if rows[code] == nil {
			t.Errorf("%s, %s, has no row in docs/protocol.md", name, code)
		}
	}
	words := docWords(text)
	for _, e := range Enums {
		for _, word := range e.Words {
			if !words[word] {
				t.Errorf("docs/protocol.md does not have %q, one of %q", word, e.Words)
			}
		}
	}
}
