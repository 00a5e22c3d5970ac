package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const root = "../.."

// quoted matches what documents put between backquotes.
var quoted = regexp.MustCompile("`([^`\n]+)`")

// TestDocumentsNamePaths looks up each path of the repository that a document names.
// One with a * stands for at least one file.
func TestDocumentsNamePaths(t *testing.T) {
	documents, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	documents = append(documents, filepath.Join(root, "README.md"), filepath.Join(root, "CONTRIBUTING.md"))
	folders := topFolders(t)
	named := 0
	for _, document := range documents {
		text, err := os.ReadFile(document)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range quoted.FindAllStringSubmatch(string(text), -1) {
			path := match[1]
			first, rest, below := strings.Cut(path, "/")
			if !slices.Contains(folders, first) || !below || rest == "" || strings.ContainsAny(path, " …{") || first == "belfry" {
				continue
			}
			named++
			if found, err := filepath.Glob(filepath.Join(root, path)); err != nil || len(found) == 0 {
				t.Errorf("%s names %s, which is not there", filepath.Base(document), path)
			}
		}
	}
	if named < 50 {
		t.Errorf("%d paths in %d documents: they are no longer recognised", named, len(documents))
	}
}

// TestDocumentsNameTests looks up each test that a document names between backquotes.
func TestDocumentsNameTests(t *testing.T) {
	documents, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	tests := testNames(t)
	named := 0
	for _, document := range documents {
		text, err := os.ReadFile(document)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range regexp.MustCompile("`(Test[A-Z0-9]\\w*)`").FindAllStringSubmatch(string(text), -1) {
			named++
			if !slices.Contains(tests, match[1]) {
				t.Errorf("%s names %s, which is not there", filepath.Base(document), match[1])
			}
		}
	}
	if named < 50 {
		t.Errorf("%d tests in %d documents: they are no longer recognised", named, len(documents))
	}
}

// testNames lists the tests of all Go packages, whatever tags they need.
func testNames(t *testing.T) []string {
	var names []string
	declared := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "node_modules" || d.Name() == ".git") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(path)
		for _, match := range declared.FindAllSubmatch(text, -1) {
			names = append(names, string(match[1]))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// TestMapHasAllPackages looks each package up in the map of docs/design.md.
func TestMapHasAllPackages(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs", "design.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, list, found := strings.Cut(string(text), "\n## Map\n")
	if !found {
		t.Fatal("docs/design.md has no map")
	}
	list, _, _ = strings.Cut(list, "\n## ")
	for _, p := range listPackages(t) {
		folder := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		if !strings.Contains(list, "`"+folder+"`") {
			t.Errorf("the map in docs/design.md does not have %s", folder)
		}
	}
}

// TestFormatsAreListed looks each version of what is stored up in docs/design.md,
// with the file that has it.
func TestFormatsAreListed(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs", "design.md"))
	if err != nil {
		t.Fatal(err)
	}
	version := regexp.MustCompile(`(?m)^(?:const |\t)(\w*(?:Version|Format))\s+(?:\w+ )?= \d+`)
	listed := 0
	for _, p := range listPackages(t) {
		folder := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		if !below(folder, "shard") && !below(folder, "raftstore") {
			continue
		}
		for _, name := range p.GoFiles {
			source, err := os.ReadFile(filepath.Join(p.Dir, name))
			if err != nil {
				t.Fatal(err)
			}
			for _, match := range version.FindAllStringSubmatch(string(source), -1) {
				listed++
				if row := "| `" + match[1] + "` | `" + folder + "/" + name + "` |"; !strings.Contains(string(text), row) {
					t.Errorf("docs/design.md, Formats, has no row %s …", row)
				}
			}
		}
	}
	if listed < 5 {
		t.Errorf("%d versions found: they are no longer recognised", listed)
	}
}

func topFolders(t *testing.T) (folders []string) {
	t.Helper()
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() && e.Name() != ".git" {
			folders = append(folders, e.Name())
		}
	}
	return folders
}
