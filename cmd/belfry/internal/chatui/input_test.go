package chatui

import (
	"reflect"
	"strings"
	"testing"
)

func TestParseInput(t *testing.T) {
	for _, c := range []struct {
		line string
		want input
		err  string // part of it
	}{
		{line: "hello there ", want: input{text: "hello there"}},
		{line: "  ", want: input{}},
		{line: "//shrug", want: input{text: "/shrug"}},
		{line: "/to bob", want: input{command: "to", text: "bob"}},
		{line: "/to", err: "/to: whom"},
		{line: "/to two words", err: "/to: "},
		{line: "/to bj\u00f6rn", err: "/to: "},
		{line: "/to g:team", want: input{command: "to", text: "g:team"}},
		{line: "/to g:", err: "/to: "},
		{line: "/group team bob carol", want: input{command: "group", text: "team", users: []string{"bob", "carol"}}},
		{line: "/group g:team", want: input{command: "group", text: "team", users: []string{}}},
		{line: "/group", err: "/group: which"},
		{line: "/group team bj\u00f6rn", err: "/group: "},
		{line: "/join team", want: input{command: "join", text: "team", users: []string{}}},
		{line: "/join team bob", err: "/join: takes one"},
		{line: "/add bob", want: input{command: "add", users: []string{"bob"}}},
		{line: "/add", err: "/add: whom"},
		{line: "/ban bob carol", want: input{command: "ban", users: []string{"bob", "carol"}}},
		{line: "/unmute", err: "/unmute: whom"},
		{line: "/mute bj\u00f6rn", err: "/mute: "},
		{line: "/muteall", want: input{command: "muteall"}},
		{line: "/own it", err: "/own: takes nothing"},
		{line: "/leave now", err: "/leave: takes nothing"},
		{line: "/history", want: input{command: "history", n: 20}},
		{line: "/history 5", want: input{command: "history", n: 5}},
		{line: "/history 101", err: "/history: want a number from 1 to 100"},
		{line: "/history x", err: "/history: want a number from 1 to 100"},
		{line: "/block", want: input{command: "block"}},
		{line: "/unblock carol", want: input{command: "unblock", text: "carol"}},
		{line: "/recall", want: input{command: "recall"}},
		{line: "/recall 3", err: "/recall: takes nothing after it"},
		{line: "/quit", want: input{command: "quit"}},
		{line: "/frobnicate", err: "/frobnicate: no such command"},
		{line: "/\x1b[2J", err: "/[2J: no such command"},
	} {
		t.Run(c.line, func(t *testing.T) {
			got, err := parseInput(c.line)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("parseChatInput(%q) = %v, want error with %q", c.line, err, c.err)
				}
				return
			}
			if err != nil || !reflect.DeepEqual(got, c.want) {
				t.Errorf("parseChatInput(%q) = %+v, %v, want %+v", c.line, got, err, c.want)
			}
		})
	}
}

func TestCompleteInput(t *testing.T) {
	users := []string{"bob", "carol", "carl"}
	for _, c := range []struct{ line, want string }{
		{"/h", "/h"}, // help and history
		{"/he", "/help "},
		{"/to b", "/to bob"},
		{"/to car", "/to car"},
		{"/to caro", "/to carol"},
		{"hello b", "hello b"},
	} {
		if got := completeInput(c.line, users); !reflect.DeepEqual(got, c.want) {
			t.Errorf("completeChatInput(%q) = %q, want %q", c.line, got, c.want)
		}
	}
}
