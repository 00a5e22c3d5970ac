package chatui

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/belfry-im/belfry/cmd/belfry/internal/cli"
	"github.com/belfry-im/belfry/gateway/protocol"
)

// An input is one line that the user entered.
type input struct {
	command string   // without the slash; empty for a message
	text    string   // the message, or the user or group that a command names
	n       int      // for history: how many messages
	users   []string // for group, add and the commands about members
}

// commands are the words that a line may begin with, in the order of /help.
var commands = []struct{ name, args, help string }{
	{"to", "USER|g:GROUP", "talk to a user, or in a group"},
	{"list", "", "recent conversations"},
	{"history", "[N]", "load N older messages, else 20"},
	{"recall", "", "take back your last message"},
	{"read", "", "mark this as read"},
	{"group", "GROUP [USER ...]", "make a group, and talk there"},
	{"add", "USER ...", "add members to this group"},
	{"members", "", "who is in this group"},
	{"mute", "USER ...", "let members say nothing here for an hour"},
	{"unmute", "USER ...", undoes + "mute"},
	{"ban", "USER ...", "keep users out of this group for a day"},
	{"unban", "USER ...", undoes + "ban"},
	{"muteall", "", "let only owner and admins write here"},
	{"unmuteall", "", undoes + "muteall"},
	{"own", "", "accept this group from its owner"},
	{"join", "GROUP", "join a group that lets you"},
	{"leave", "", "leave this group"},
	{"block", "[USER]", "take nothing more from USER"},
	{"unblock", "[USER]", undoes + "block"},
	{"help", "", "this list"},
	{"quit", "", "leave; so does ctrl-C"},
}

const undoes = "undo /" // begins the help of a command that follows the one it undoes

const pageSize = 20 // messages of /history without a number

// parseInput parses a line. A message that begins with a slash is written
// with two.
func parseInput(line string) (input, error) {
	line = strings.TrimSpace(line)
	if !strings.HasPrefix(line, "/") {
		return input{text: line}, nil
	}
	if strings.HasPrefix(line, "//") {
		return input{text: line[1:]}, nil
	}
	name, arg, _ := strings.Cut(line[1:], " ")
	in := input{command: name, text: strings.TrimSpace(arg)}
	switch name {
	case "to":
		if in.text == "" {
			return in, fmt.Errorf("/to: whom? Say /to USER, or /to g:GROUP")
		}
		_, err := parseConv(in.text)
		if err != nil {
			err = fmt.Errorf("/to: %w", err)
		}
		return in, err
	case "group", "join", "add", "mute", "unmute", "ban", "unban":
		return parseGroupInput(in)
	case "block", "unblock":
		if in.text == "" {
			return in, nil
		}
		return in, checkPeer(name, in.text)
	case "history":
		in.n = pageSize
		if in.text != "" {
			n, err := strconv.Atoi(in.text)
			if err != nil || n < 1 || n > 100 {
				return in, fmt.Errorf("/history: want a number from 1 to 100, not %q", in.text)
			}
			in.n, in.text = n, ""
		}
		return in, nil
	case "list", "recall", "read", "members", "muteall", "unmuteall", "own", "leave", "help", "quit":
		if in.text != "" {
			return in, fmt.Errorf("/%s: takes nothing after it", name)
		}
		return in, nil
	}
	return in, fmt.Errorf("/%s: no such command; /help lists them, // begins a message with a slash", printableLine(name))
}

// parseGroupInput parses the arguments of a command about groups.
func parseGroupInput(in input) (input, error) {
	in.users, in.text = strings.Fields(in.text), ""
	named := in.command == "group" || in.command == "join"
	if named {
		if len(in.users) == 0 {
			return in, fmt.Errorf("/%s: which group?", in.command)
		}
		in.text, in.users = strings.TrimPrefix(in.users[0], groupConv), in.users[1:]
		if _, err := parseConv(groupConv + in.text); err != nil {
			return in, fmt.Errorf("/%s: %w", in.command, err)
		}
	}
	switch {
	case !named && len(in.users) == 0:
		return in, fmt.Errorf("/%s: whom? Say /%s USER", in.command, in.command)
	case in.command == "join" && len(in.users) > 0:
		return in, fmt.Errorf("/join: takes one group")
	}
	for _, user := range in.users {
		if err := checkPeer(in.command, user); err != nil {
			return in, err
		}
	}
	return in, nil
}

// groupConv begins the name of a group wherever a user could stand, too.
const groupConv = "g:"

// parseConv returns the conversation that a user or group names.
func parseConv(name string) (string, error) {
	if !strings.HasPrefix(name, groupConv) {
		return "u:" + name, cli.CheckUser(name)
	}
	if _, err := protocol.ParseConv(name); err != nil {
		return "", fmt.Errorf("%q: a group is g: and %s", name, protocol.GroupForm)
	}
	return name, nil
}

func checkPeer(command, user string) error {
	if err := cli.CheckUser(user); err != nil {
		return fmt.Errorf("/%s: %w", command, err)
	}
	return nil
}

// help returns the text of /help, line by line. A command that undoes another
// one shares its line, so that a terminal of 24 lines shows all of them and a
// message or two.
func help() []string {
	var lines []string
	for i, c := range commands {
		name := "/" + c.name
		if strings.HasPrefix(c.help, undoes) {
			continue
		}
		if next := i + 1; next < len(commands) && commands[next].help == undoes+c.name {
			name = "/[un]" + c.name
		}
		lines = append(lines, fmt.Sprintf("%-23s %s", strings.TrimSpace(name+" "+c.args), c.help))
	}
	return lines
}

// completeInput completes the name of a command, or of a user behind a
// command that takes one. It returns line unchanged if no name fits, or
// several do.
func completeInput(line string, users []string) string {
	command, arg, hasArg := strings.Cut(line, " ")
	if !strings.HasPrefix(command, "/") {
		return line
	}
	var found []string
	if !hasArg {
		for _, c := range commands {
			if strings.HasPrefix("/"+c.name, command) {
				found = append(found, "/"+c.name+" ")
			}
		}
	} else {
		for _, user := range users {
			if strings.HasPrefix(user, arg) {
				found = append(found, command+" "+user)
			}
		}
	}
	if len(found) != 1 {
		return line
	}
	return found[0]
}
