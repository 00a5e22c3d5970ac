package versions

import (
	"fmt"
	"strings"
	"testing"
)

func TestFits(t *testing.T) {
	own := Set{Link: {2, 3}, Watch: Only(2)}
	many := make(Set)
	for i := range maxSet + 1 {
		many[fmt.Sprint(i)] = Only(1)
	}
	for name, test := range map[string]struct {
		peer Set
		want string // part of the error, "" = none
	}{
		"the same":         {own, ""},
		"one older":        {Set{Link: {1, 2}, Watch: {1, 2}}, ""},
		"one newer":        {Set{Link: {3, 4}, Watch: {2, 3}}, ""},
		"one not spoken":   {Set{Link: {2, 3}}, ""},
		"one not known":    {Set{Link: {2, 3}, "later": {7, 9}}, ""},
		"too old":          {Set{Link: Only(1)}, "link: the peer is too old: it speaks version 1, this node 2 to 3"},
		"too new":          {Set{Link: {2, 3}, Watch: {3, 4}}, "watch: this node is too old: it speaks version 2, the peer 3 to 4"},
		"none":             {nil, "does not say"},
		"no range":         {Set{Link: {3, 2}}, "no range"},
		"not known, wrong": {Set{Link: {2, 3}, "later": {}}, "no range"},
		"long name":        {Set{strings.Repeat("x", maxName+1): Only(1)}, "name has 65 bytes"},
		"too many":         {many, "65 protocols"},
	} {
		err := own.Fits(test.peer)
		if err == nil && test.want != "" || err != nil && (test.want == "" || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}

func TestCheck(t *testing.T) {
	r := Range{2, 3}
	for version, want := range map[int]string{1: "older", 2: "", 3: "", 4: "newer"} {
		err := r.Check("status", version)
		if err == nil && want != "" || err != nil && (want == "" || !strings.Contains(err.Error(), "status of version "+fmt.Sprint(version)+": its writer is "+want)) {
			t.Errorf("version %d of %v: %v, want %q", version, r, err, want)
		}
	}
}

func TestUnknown(t *testing.T) {
	if err := Unknown("item", Optional); err != nil {
		t.Errorf("an optional item: %v, want it skipped", err)
	}
	if err := Unknown("item", Optional-1); err == nil || !strings.Contains(err.Error(), "item of kind 127 is not known: this binary is older") {
		t.Errorf("another: %v, want an error that says who is older", err)
	}
}

func TestStrings(t *testing.T) {
	if got := fmt.Sprint(Set{Link: {1, 2}, Watch: Only(3)}.Strings()); got != "map[link:1 to 2 watch:3]" {
		t.Errorf("%s", got)
	}
}
