package shard

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/belfry-im/belfry/shard/command"
)

// TestEveryCommandHasARow parses package command for types with a Key and fields.
func TestEveryCommandHasARow(t *testing.T) {
	rows := make(map[string]bool)
	for _, cmd := range allCommands() {
		name := strings.TrimPrefix(fmt.Sprintf("%T", cmd), "*command.")
		if rows[name] {
			t.Errorf("%s has two rows in kinds", name)
		}
		rows[name] = true
	}
	methods := make(map[string][]string) // by type
	paths, err := filepath.Glob("command/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range file.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok || f.Recv == nil {
				continue
			}
			if star, ok := f.Recv.List[0].Type.(*ast.StarExpr); ok {
				name := star.X.(*ast.Ident).Name
				methods[name] = append(methods[name], f.Name.Name)
			}
		}
	}
	found := 0
	for name, has := range methods {
		if !slices.Contains(has, "fields") || !slices.Contains(has, "Key") {
			continue
		}
		found++
		if !rows[name] {
			t.Errorf("command.%s has no row in kinds", name)
		}
	}
	if found != len(rows) {
		t.Errorf("%d commands in package command, %d rows in kinds", found, len(rows))
	}
}

// TestRowsAndNumbers compares the number of each row with that in the log.
func TestRowsAndNumbers(t *testing.T) {
	for k, row := range kinds {
		if row.make == nil {
			continue
		}
		cmd := row.make()
		if encoded := command.AppendCommand(nil, cmd); int(encoded[1]) != k {
			t.Errorf("%T is row %d of kinds, and number %d in the log", cmd, k, encoded[1])
		}
	}
}

// TestEveryFieldIsInTheLog has each field survive encoding. One that is zero
// afterwards is missing in the fields of its command.
func TestEveryFieldIsInTheLog(t *testing.T) {
	for i, want := range filled() {
		encoded := command.AppendCommand(nil, want)
		batch := append(command.AppendBatchHeader(nil, storyTime), encoded...)
		if err := new(Checker).Check(encoded); err != nil {
			t.Errorf("Check of a %T: %v", want, err)
		}
		got := allCommands()[i]
		err := command.NewSet(newCommand).WalkBatch(batch, func(int64) {}, func(_ command.Kind, cmd command.Command) { got = cmd })
		if err != nil {
			t.Errorf("%T: %v", want, err)
		}
		for _, difference := range differences(got, want) {
			t.Errorf("%T.%s", want, difference)
		}
	}
}

// TestDecodingLeavesNothingBehind decodes an empty command into the value that a
// full one was decoded into: each field must be set anew.
func TestDecodingLeavesNothingBehind(t *testing.T) {
	for _, full := range filled() {
		empty := reflect.New(reflect.TypeOf(full).Elem()).Interface().(command.Command)
		least(empty)
		batch := command.AppendBatchHeader(nil, storyTime)
		batch = command.AppendCommand(command.AppendCommand(batch, full), empty)
		err := command.NewSet(newCommand).WalkBatch(batch, func(int64) {}, func(_ command.Kind, cmd command.Command) {
			full = cmd // at last the empty one
		})
		if err != nil {
			t.Errorf("%T: %v", full, err)
			continue
		}
		if got, want := command.AppendCommand(nil, full), command.AppendCommand(nil, empty); string(got) != string(want) {
			t.Errorf("%T decoded over a full one = %+v, want %+v", full, full, empty)
		}
	}
}

// least sets what a command must have to decode.
func least(cmd command.Command) {
	switch c := cmd.(type) {
	case *command.Deliver:
		c.Letter.Kind, c.Letter.Number = command.LetterBlock, 1
	case *command.CreateGroup:
		c.Kind, c.Settings = command.GroupLive, command.GroupLive.Settings()
	}
}
