package main

import (
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
